/** A virtualised ARIA treegrid: only the rows in view exist as elements, and they are used again while scrolling. */

import { arrowStep, element } from "./dom.ts";

export const ROW_HEIGHT = 26;
/** Browsers stop at about 33.5 million pixels; past this height the scroll position is scaled. */
const MAX_HEIGHT = 30_000_000;
const SPARE = 4;

export interface GridColumn {
  key: string;
  title: string;
  /** A track of `grid-template-columns`. */
  width: string;
  end?: boolean;
  sortable?: boolean;
  /** Without the bar beside the amount. */
  bare?: boolean;
  /** Shown when the reader asks for it. */
  extra?: boolean;
}

/** How a row is selected: alone, beside those that are, or with all between. */
export type How = "alone" | "beside" | "between";

/** What the grid shows and whom it tells. Places count the shown rows from 0. */
export interface GridSource {
  label: string;
  role: "treegrid" | "grid";
  columns: readonly GridColumn[];
  count(): number;
  fill(row: HTMLElement, cells: readonly HTMLElement[], place: number): void;
  /** Keys that the grid itself does not know. */
  key(event: KeyboardEvent, place: number): boolean;
  /** `from` is where the keyboard was before. */
  select(place: number, how: How, from: number): void;
  selectAll(): void;
  selected(place: number): boolean;
  toggle?(place: number): void;
  sort?(key: string): void;
  /** Fills a row below all others that does not scroll. */
  foot?(row: HTMLElement, cells: readonly HTMLElement[]): void;
  empty(): string;
}

export class Grid {
  readonly root: HTMLElement;
  readonly #head: HTMLElement;
  readonly #scroller: HTMLElement;
  readonly #spacer: HTMLElement;
  readonly #layer: HTMLElement;
  readonly #nothing: HTMLElement;
  readonly #foot = element("div", { class: "headgroup sumline", role: "rowgroup" });
  readonly #observer: ResizeObserver;
  #pool: { row: HTMLElement; cells: HTMLElement[]; place: number }[] = [];
  #top = 0;
  #expected = -1;
  #height = 0;
  #frame = 0;
  active = 0;
  #source: GridSource;

  constructor(source: GridSource) {
    this.#source = source;
    this.#head = element("div", { class: "row head", role: "row" });
    this.#layer = element("div", { class: "layer", role: "presentation" });
    this.#spacer = element("div", { class: "spacer", role: "presentation" }, this.#layer);
    this.#nothing = element("div", { class: "nothing", role: "row" }, element("div", { role: "gridcell" }));
    // The group itself, since what can take the focus cannot be left out of what a screen reader sees.
    this.#scroller = element("div", { class: "scroller", role: "rowgroup" }, this.#spacer, this.#nothing);
    this.root = element("div", { class: "grid", tabindex: "-1", "aria-multiselectable": "true" }, element("div", { class: "headgroup", role: "rowgroup" }, this.#head), this.#scroller, this.#foot);
    this.#scroller.addEventListener("scroll", () => this.#scrolled());
    this.#scroller.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.#layer.addEventListener("click", (event) => this.#click(event));
    this.#layer.addEventListener("mousedown", (event) => event.shiftKey && event.preventDefault()); // else the browser marks the texts between
    this.#observer = new ResizeObserver(() => {
      // A theme switch hides the view for a moment: a height of 0 says nothing.
      if (this.#scroller.clientHeight > 0 && this.#scroller.clientHeight !== this.#height) {
        const inView = !this.#height || this.#isInView(this.active);
        this.#height = this.#scroller.clientHeight;
        this.refresh();
        if (inView) this.go(this.active, false); // what was in view stays there
      }
    });
    this.#observer.observe(this.#scroller);
    this.setSource(source);
  }

  /** Takes other columns or other rows. */
  setSource(source: GridSource): void {
    this.#source = source;
    this.root.role = source.role;
    this.root.ariaLabel = source.label;
    this.setTracks(source.columns);
    this.root.ariaColCount = String(source.columns.length);
    this.#head.replaceChildren(
      ...source.columns.map((column) => {
        const cell = element("div", { role: "columnheader", class: cellClass(column) }, column.title);
        if (column.sortable) {
          cell.classList.add("sortable");
          cell.dataset.key = column.key;
          cell.addEventListener("click", () => this.#source.sort?.(column.key));
        }
        return cell;
      }),
    );
    const first = this.#head.querySelector<HTMLElement>(".sortable");
    if (first) first.tabIndex = 0;
    this.#pool = [];
    this.#layer.replaceChildren();
    this.refresh();
  }

  /** One width for head and rows: tracks that follow their content would not line up. */
  setTracks(columns: readonly GridColumn[]): void {
    this.root.style.setProperty("--tracks", columns.map((column) => column.width).join(" "));
    const least = columns.reduce((sum, column) => sum + Number(/\d+(?=px)/.exec(column.width)?.[0] ?? 0), 0);
    this.root.style.setProperty("--least", `${least}px`);
    this.root.classList.toggle("bare", columns.some((column) => column.bare));
  }

  showSort(key: string, down: boolean): void {
    this.#source.columns.forEach((column, index) => {
      const cell = this.#head.children[index];
      if (column.sortable) cell.ariaSort = column.key !== key ? "none" : down ? "descending" : "ascending";
    });
  }

  /** Draws again after the rows changed. */
  refresh(): void {
    const count = this.#source.count();
    this.root.ariaRowCount = String(count + 1 + (this.#source.foot ? 1 : 0));
    this.#fillFoot(count + 2);
    this.#spacer.style.height = `${Math.min(count * ROW_HEIGHT, MAX_HEIGHT)}px`;
    this.active = Math.max(0, Math.min(this.active, count - 1));
    this.#nothing.firstElementChild!.textContent = count ? "" : this.#source.empty();
    this.#nothing.hidden = count > 0;
    this.#top = Math.max(0, Math.min(this.#top, count * ROW_HEIGHT - this.#height));
    for (const item of this.#pool) item.place = -1;
    this.draw();
  }

  #fillFoot(place: number): void {
    const { foot } = this.#source;
    this.#foot.hidden = !foot;
    if (!foot) return;
    const { row, cells } = this.#newRow();
    row.ariaRowIndex = String(place);
    this.#foot.replaceChildren(row);
    foot(row, cells);
  }

  /** Makes a row the one that the keyboard is on; one that is looked up comes with what stands around it. */
  go(place: number, focus: boolean, lookUp = false): void {
    const count = this.#source.count();
    if (!count) return;
    this.active = Math.max(0, Math.min(place, count - 1));
    const start = this.active * ROW_HEIGHT;
    if (!this.#height) return; // not on show yet
    if (!this.#isInView(this.active)) {
      const room = this.#height - ROW_HEIGHT;
      this.#scrollTo(start - (lookUp ? room / 2 : start < this.#top ? 0 : room));
    }
    this.draw();
    if (focus) this.#element(this.active)?.focus({ preventScroll: true });
  }

  /** Scrolls back to where it was: an element that leaves the page forgets it. */
  comeBack(): void {
    this.#scrollTo(this.#top);
  }

  #isInView(place: number): boolean {
    const start = place * ROW_HEIGHT;
    return start >= this.#top && start + ROW_HEIGHT <= this.#top + this.#height;
  }

  destroy(): void {
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  get #scale(): number {
    const real = this.#source.count() * ROW_HEIGHT;
    return real > MAX_HEIGHT ? (real - this.#height) / (MAX_HEIGHT - this.#height) : 1;
  }

  #scrollTo(top: number): void {
    this.#top = Math.max(0, Math.min(top, this.#source.count() * ROW_HEIGHT - this.#height));
    this.#scroller.scrollTop = this.#top / this.#scale;
    this.#expected = this.#scroller.scrollTop;
  }

  #scrolled(): void {
    if (!this.#scroller.clientHeight) return; // hidden for a moment, as in a switch of the theme: 0 is no position
    const now = this.#scroller.scrollTop;
    if (Math.abs(now - this.#expected) > 0.5) this.#top = now * this.#scale; // moved by the reader, not by us
    this.#expected = now;
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.draw());
  }

  #wheel(event: WheelEvent): void {
    if (this.#scale === 1 || !event.deltaY) return;
    event.preventDefault(); // one notch stays a few rows, however many rows there are
    this.#scrollTo(this.#top + event.deltaY * (event.deltaMode === 1 ? ROW_HEIGHT : 1));
    this.draw();
  }

  #element(place: number): HTMLElement | undefined {
    return this.#pool.find((item) => item.place === place)?.row;
  }

  /** Draws the rows in view, as they are and as they are selected. */
  draw(): void {
    const count = this.#source.count();
    const first = Math.max(0, Math.floor(this.#top / ROW_HEIGHT) - SPARE);
    const last = Math.min(count, Math.ceil((this.#top + this.#height) / ROW_HEIGHT) + SPARE);
    const size = Math.ceil(this.#height / ROW_HEIGHT) + 2 * SPARE + 1;
    while (this.#pool.length < size) this.#pool.push(this.#makeRow());
    // A row keeps its element while it stays in view, and with it the focus.
    const length = this.#pool.length;
    let lost = false;
    for (let slot = 0; slot < length; slot++) {
      const item = this.#pool[slot];
      const place = first + ((((slot - first) % length) + length) % length);
      if (place >= last) {
        lost ||= item.row.matches(":focus");
        item.row.hidden = true;
        item.place = -1;
        continue;
      }
      const offset = place * ROW_HEIGHT - this.#top;
      item.row.style.transform = `translateY(${offset}px)`;
      if (item.place !== place) {
        lost ||= item.place >= 0 && item.row.matches(":focus");
        item.place = place;
        item.row.hidden = false;
        item.row.ariaRowIndex = String(place + 2);
        this.#source.fill(item.row, item.cells, place);
      }
      item.row.tabIndex = place === this.active ? 0 : -1;
      item.row.ariaSelected = String(this.#source.selected(place));
    }
    if (lost) this.#scroller.focus({ preventScroll: true });
    this.#scroller.tabIndex = this.#element(this.active) ? -1 : 0; // one stop for the Tab key, wherever the reader has scrolled
  }

  #newRow(): { row: HTMLElement; cells: HTMLElement[] } {
    const cells = this.#source.columns.map((column) =>
      element("div", { role: /^(name|path)/.test(column.key) ? "rowheader" : "gridcell", class: cellClass(column) }),
    );
    return { row: element("div", { class: "row", role: "row" }, ...cells), cells };
  }

  #makeRow(): { row: HTMLElement; cells: HTMLElement[]; place: number } {
    const { row, cells } = this.#newRow();
    row.hidden = true;
    this.#layer.append(row);
    return { row, cells, place: -1 };
  }

  #click(event: MouseEvent): void {
    const target = event.target as HTMLElement;
    const item = this.#pool.find(({ row }) => row.contains(target));
    if (!item || item.place < 0) return;
    const { place } = item;
    const from = this.active;
    this.go(place, true);
    if (target.closest(".twisty")) this.#source.toggle?.(place);
    else this.#source.select(place, event.shiftKey ? "between" : event.ctrlKey || event.metaKey ? "beside" : "alone", from);
  }

  #key(event: KeyboardEvent): void {
    if (event.altKey) return;
    if (event.ctrlKey || event.metaKey) return this.#selectKey(event);
    const title = (event.target as HTMLElement).closest<HTMLElement>(".sortable");
    if (title && event.key !== "ArrowDown") return this.#headKey(event, title);
    const page = Math.max(1, Math.floor(this.#height / ROW_HEIGHT) - 1);
    const moves: Record<string, number> = {
      ArrowDown: title ? this.active : this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page,
      Home: 0, End: this.#source.count() - 1,
    };
    if (event.key in moves) {
      const from = this.active;
      this.go(moves[event.key], true);
      if (event.shiftKey) this.#source.select(this.active, "between", from);
    } else if (event.key === "Enter" || event.key === " ") this.#source.select(this.active, event.shiftKey ? "between" : "alone", this.active);
    else if (!this.#source.key(event, this.active)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Selects all rows, or one more. */
  #selectKey(event: KeyboardEvent): void {
    if (event.key === "a") this.#source.selectAll();
    else if (event.key === " ") this.#source.select(this.active, "beside", this.active);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Sorts by the title that has the focus, or goes to the one beside it. */
  #headKey(event: KeyboardEvent, title: HTMLElement): void {
    const step = arrowStep(event);
    if (event.key === "Enter" || event.key === " ") this.#source.sort?.(title.dataset.key!);
    else if (step) {
      const titles = [...this.#head.querySelectorAll<HTMLElement>(".sortable")];
      const next = titles[titles.indexOf(title) + step];
      if (next) {
        title.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      }
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** Classes of a column's cells: what it shows, and of which side. */
function cellClass({ key, end }: GridColumn): string {
  return `cell ${key.replace("_", " ")}${end ? " end" : ""}`;
}
