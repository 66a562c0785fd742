/** A grid over rows of the view table: its columns are as wide as their texts, and those without room are left out. */

import type { Desk } from "./desk.ts";
import { element } from "./dom.ts";
import { Grid, type GridColumn, type How } from "./grid.ts";
import { Layout } from "./layout.ts";
import { choice, menu } from "./menu.ts";
import { say } from "./messages.ts";

const SCROLLBAR = 16;

/** What such a grid shows. Places count the shown rows from 0. */
export interface RowSource {
  label: string;
  role: "treegrid" | "grid";
  /** The columns wanted, without widths. */
  all: readonly GridColumn[];
  /** Which widths belong together: they only grow while one state is on show. */
  layout: string;
  count(): number;
  /** What stands in a cell, to measure it; of names the number of characters. After the last place comes the row below all others. */
  text(key: string, place: number): string | number;
  fill(columns: readonly GridColumn[], row: HTMLElement, cells: readonly HTMLElement[], place: number): void;
  key(event: KeyboardEvent, place: number): boolean;
  select(place: number): void;
  toggle?(place: number): void;
  sort?(key: string): void;
  /** Fills a row below all others that does not scroll. */
  foot?(columns: readonly GridColumn[], row: HTMLElement, cells: readonly HTMLElement[]): void;
  /** Key of the column that the rows are sorted by, and whether downwards. */
  sorted?(): readonly [key: string, down: boolean];
  empty(): string;
  placeOf(row: number): number;
  /** The row at a place, -1 where it stands for others. */
  rowAt(place: number): number;
}

export class RowGrid {
  readonly #desk: Desk;
  #grid: Grid | null = null;
  #panel: HTMLElement | null = null;
  #source: RowSource | null = null;
  #columns: readonly GridColumn[] = [];
  /** What the reader chose to see or not to see, by table and column. */
  readonly #chosen = new Map<string, boolean>();
  #layouts = new Map<string, Layout>();
  /** The state that the widths are of. */
  #table: unknown = null;
  /** The row that a range of selected ones begins with. */
  #anchor = -1;

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  /** A menu of the columns, below what else there is to choose. */
  chooser(more: () => readonly Node[] = () => []): HTMLElement {
    return menu(say("view"), () => {
      const source = this.#source;
      const columns = (source?.all ?? []).filter(({ key }) => !/^(name|path)/.test(key)).map((column) =>
        choice(column.title, this.#wanted(source!, column) && this.#columns.some(({ key }) => key === column.key), (on) => {
          this.#chosen.set(`${source!.layout} ${column.key}`, on);
          this.refresh();
        }),
      );
      return [...more(), element("span", { class: "quiet" }, say("columns")), ...columns];
    });
  }

  open(panel: HTMLElement, source: RowSource): void {
    this.#panel = panel;
    this.#source = source;
    const { table } = this.#desk.model;
    if (table !== this.#table) {
      this.#table = table;
      this.#layouts.clear();
    }
    this.#layOut(source);
    this.#show(source);
    if (panel.contains(this.#grid!.root)) return;
    panel.replaceChildren(this.#grid!.root);
    this.#grid!.comeBack();
  }

  refresh(): void {
    this.resize();
    this.#grid?.refresh();
  }

  /** Gives the columns other widths; when others fit than before, the rows are made anew. */
  resize(): void {
    const source = this.#source;
    if (!source) return;
    const keys = (): string => this.#columns.map(({ key }) => key).join();
    const before = keys();
    this.#layOut(source);
    if (keys() !== before) return this.#show(source);
    this.#grid?.setTracks(this.#columns);
    this.#showSort(source);
  }

  /** Shows which rows are selected. */
  showSelected(): void {
    this.#grid?.draw();
  }

  /** Puts the focus on the row that was the last to have it. */
  enter(): void {
    this.#grid?.go(this.#grid.active, true);
  }

  /** Goes to a row; one that was selected elsewhere is looked up. */
  go(place: number, focus: boolean, lookUp?: boolean): void {
    this.#grid?.go(place, focus, lookUp);
  }

  destroy(): void {
    this.#grid?.destroy();
  }

  #show(source: RowSource): void {
    const columns = this.#columns;
    const shown = {
      ...source, columns,
      select: (place: number, how: How, from: number) => this.#select(source, place, how, from),
      selectAll: () => this.#desk.selectAll(rowsFrom(source, 0, source.count() - 1)),
      selected: (place: number) => this.#desk.chosen.has(source.rowAt(place)),
      fill: source.fill.bind(source, columns), foot: source.foot?.bind(source, columns),
    };
    if (this.#grid) this.#grid.setSource(shown);
    else this.#grid = new Grid(shown);
    this.#showSort(source);
  }

  #select(source: RowSource, place: number, how: How, from: number): void {
    const row = source.rowAt(place);
    const desk = this.#desk;
    if (how === "between") {
      // From where the reader last chose a row, or from where the keyboard has gone since.
      const start = desk.chosen.has(source.rowAt(from)) ? source.placeOf(this.#anchor) : -1;
      const first = start >= 0 ? start : from;
      this.#anchor = source.rowAt(first);
      const rows = rowsFrom(source, Math.min(first, place), Math.max(first, place));
      desk.selectAll(rows, row < 0 ? rows[0] : row);
      return;
    }
    this.#anchor = row;
    if (row < 0 || how === "alone") source.select(place);
    else if (desk.chosen.has(row)) desk.selectAll([...desk.chosen].filter((other) => other !== row));
    else desk.selectAll([...desk.chosen, row], row);
  }

  /** Whether a column is to be shown: as the reader chose, else unless it is one of the further ones or says the same everywhere. */
  #wanted(source: RowSource, { key, extra }: GridColumn): boolean {
    return this.#chosen.get(`${source.layout} ${key}`) ?? (!extra && !(this.#desk.model.soleDevice && key.startsWith("device")));
  }

  #showSort(source: RowSource): void {
    const [key, down] = source.sorted?.() ?? ["", false];
    this.#grid?.showSort(key, down);
  }

  #layOut(source: RowSource): void {
    let layout = this.#layouts.get(source.layout);
    if (!layout) this.#layouts.set(source.layout, (layout = new Layout(this.#panel!)));
    const all = source.all.filter((column) => this.#wanted(source, column));
    layout.measure(all, source.count() + (source.foot ? 1 : 0), (key, place) => source.text(key, place));
    this.#columns = layout.fit(all, this.#panel!.clientWidth - SCROLLBAR, (key) => this.#chosen.get(`${source.layout} ${key}`) === true);
  }
}

/** The rows from one place to another. */
function rowsFrom(source: RowSource, first: number, last: number): number[] {
  const rows: number[] = [];
  for (let place = first; place <= last; place++) {
    const row = source.rowAt(place);
    if (row >= 0) rows.push(row);
  }
  return rows;
}
