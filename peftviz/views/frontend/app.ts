/** The inspector: holds the parts together. Nothing here asks the kernel for what the browser can do. */

import { cellText, columnsFor, fillRow } from "./columns.ts";
import { type Deeds, detailsOf } from "./details.ts";
import { PlanDialog, failureBox, failureOf } from "./dialog.ts";
import { arrowStep, button, element, toggle } from "./dom.ts";
import { findingsList } from "./findings.ts";
import { Grid, type GridColumn, type GridSource } from "./grid.ts";
import { fillHeader } from "./header.ts";
import type { Failure, StepEntry, View } from "./kernel.ts";
import { Layout } from "./layout.ts";
import { memoryBars } from "./memory.ts";
import { say } from "./messages.ts";
import { LEFTOVER, type SortKey, TreeModel, soleDevice } from "./model.ts";
import { memoryTables } from "./tables.ts";
import { TimelineView } from "./timeline.ts";
import type { Finding, Table } from "./wire.ts";

const TABS = ["structure", "parameters", "memory", "findings"] as const;
type Tab = (typeof TABS)[number];

const SCROLLBAR = 16;

const SORTS: Readonly<Record<string, SortKey>> = {
  path: "path", change: "status", shape: "shape", dtype: "type", trainable: "trainable", elements: "numel", memory: "bytes",
};

/** What the app needs from outside: the kernel's doing, as far as there is a kernel. */
export interface Outside {
  jump(index: number, base: number): void;
  remove?(dialog: PlanDialog, adapter: string): void;
  repair?(dialog: PlanDialog): void;
  capture?(): void;
}

export class App {
  readonly root: HTMLElement;
  readonly #outside: Outside;
  readonly #header = element("div", { class: "header" });
  readonly #timeline: TimelineView;
  readonly #tabs = element("div", { class: "tabs", role: "tablist", "aria-label": say("views") });
  readonly #tools = element("div", { class: "tools", role: "toolbar", "aria-label": say("filterLabel") });
  readonly #filter = element("input", { type: "search", placeholder: say("filter"), "aria-label": say("filterLabel") });
  readonly #counter = element("span", { class: "counter", role: "status" });
  readonly #panel = element("div", { class: "panel", role: "tabpanel" });
  readonly #details = element("div", { class: "details", role: "region", "aria-label": say("details") });
  readonly #foot = element("div", { class: "footer" });
  readonly #notice = element("div", { class: "notice" });
  readonly dialog = new PlanDialog();
  readonly #toggles: Record<"changes" | "fold" | "split", HTMLButtonElement>;
  #grid: Grid | null = null;
  #model: TreeModel | null = null;
  #tab: Tab = "structure";
  #split = false;
  #flat: Int32Array = new Int32Array(0);
  #selected = -1;
  #timer = 0;
  #width = 0;
  /** The device of all rows; it has no column then. */
  #device = "";
  #columns: readonly GridColumn[] = [];
  #layouts: Partial<Record<Tab | "split", Layout>> = {};
  readonly #observer = new ResizeObserver(() => this.#resized());

  constructor(outside: Outside) {
    this.#outside = outside;
    this.#timeline = new TimelineView((index, base) => outside.jump(index, base));
    this.#toggles = {
      changes: toggle(say("onlyChanges"), false, (on) => this.#change((model) => model.setOnlyChanges(on))),
      fold: toggle(say("fold"), true, (on) => this.#change((model) => model.setFold(on))),
      split: toggle(say("sideBySide"), false, (on) => {
        this.#split = on;
        this.#openTab(this.#tab);
      }),
    };
    this.#filter.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => this.#change((model) => model.setFilter(this.#filter.value)), this.#model && this.#model.rows > 50_000 ? 200 : 40);
    });
    this.#filter.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") this.#grid?.go(0, true);
      else if (event.key === "Escape" && this.#filter.value) this.#filter.value = "";
      else return;
      event.preventDefault();
      this.#filter.dispatchEvent(new Event("input"));
    });
    const previous = button(say("previous"), "plain", () => this.#step(-1));
    previous.ariaLabel = say("previousChange");
    const next = button(say("next"), "plain", () => this.#step(1));
    next.ariaLabel = say("nextChange");
    const help = button("?", "plain", () => this.dialog.help());
    help.ariaLabel = say("help");
    this.#tools.append(this.#filter, this.#toggles.changes, this.#toggles.fold, this.#toggles.split, this.#counter, previous, next);
    if (outside.capture) this.#tools.append(button(say("capture"), "plain", outside.capture));
    this.#tools.append(help);
    const main = element("div", { class: "main" }, this.#tabs, this.#tools, this.#panel);
    this.root = element(
      "div", { class: "peftviz", role: "region", "aria-label": say("inspector") },
      this.#header, this.#notice, element("div", { class: "middle" }, this.#timeline.root, main, this.#details), this.#foot, this.dialog.root,
    );
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.#observer.observe(this.root);
  }

  /** Shows a state; with `same`, what is open and selected stays where the rows allow. */
  show(table: Table, steps: readonly StepEntry[], view: View): void {
    const model = new TreeModel(table);
    this.#model = model;
    this.#layouts = {};
    this.#device = soleDevice(table);
    this.#selected = -1;
    this.#notice.replaceChildren();
    if (view.lines.length) this.#notice.append(element("pre", {}, view.lines.join("\n")));
    if (this.#filter.value) model.setFilter(this.#filter.value);
    this.#toggles.changes.ariaPressed = String(model.onlyChanges);
    this.#toggles.changes.hidden = !model.hasChanges;
    this.#toggles.split.hidden = table.summary.single;
    model.setFold(this.#toggles.fold.ariaPressed === "true");
    if (table.summary.single) this.#split = false;
    fillHeader(this.#header, table, view, steps.length, this.#device, () => this.#openTab("findings"));
    this.#timeline.show(steps, view);
    this.#foot.replaceChildren(memoryBars(table, view.title));
    this.#openTab(this.#tab);
    const worst = ["error", "warning"].map((word) => table.findings.find((item) => item.severity === word && item.row >= 0)).find(Boolean);
    if (worst) this.#reveal(redRow(table, worst), false);
    else this.#showDetails(-1);
  }

  fail(failure: unknown): void {
    this.#notice.replaceChildren(failureBox(isFailure(failure) ? failure : failureOf(failure)));
  }

  destroy(): void {
    this.#observer.disconnect();
    this.#grid?.destroy();
    clearTimeout(this.#timer);
  }

  #resized(): void {
    const width = this.root.clientWidth;
    if (!width || width === this.#width) return; // no width: hidden for a moment
    this.#width = width;
    const size = width > 1280 ? "wide" : width > 980 ? "medium" : width > 620 ? "narrow" : "tiny";
    this.root.dataset.size = size;
    this.#layOutAgain();
  }

  /** Gives the columns other widths; when others fit than before, the rows are made anew. */
  #layOutAgain(): void {
    const model = this.#model;
    const tab = this.#tab;
    if (!model || (tab !== "structure" && tab !== "parameters")) return;
    const keys = (): string => this.#columns.map(({ key }) => key).join();
    const before = keys();
    this.#layOut(model, tab);
    if (keys() === before) this.#grid?.setTracks(this.#columns);
    else this.#openTab(tab);
  }

  #layOut(model: TreeModel, tab: "structure" | "parameters"): void {
    const all = columnsFor(tab === "parameters" ? tab : this.#split ? "split" : "tree").filter(({ key }) => !this.#device || !key.startsWith("device"));
    const layout = (this.#layouts[this.#split && tab === "structure" ? "split" : tab] ??= new Layout(this.root));
    const { shown } = model;
    if (tab === "parameters") layout.measure(all, this.#flat.length, (key, place) => cellText(model, key, this.#flat[place], -1, 0));
    else layout.measure(all, shown.count, (key, place) => cellText(model, key, shown.rows[place], shown.heads[place], shown.levels[place]));
    this.#columns = layout.fit(all, this.#panel.clientWidth - SCROLLBAR);
  }

  #openTab(tab: Tab): void {
    const model = this.#model;
    if (!model) return;
    this.#tab = tab;
    this.#tabs.replaceChildren(...TABS.map((name) => this.#tabButton(name, name === tab)));
    const rows = tab === "structure" || tab === "parameters" ? tab : null;
    this.#tools.hidden = !rows;
    this.#toggles.fold.hidden = tab !== "structure";
    this.#toggles.split.hidden = tab !== "structure" || model.table.summary.single;
    this.#panel.className = `panel ${tab}`;
    this.#panel.ariaLabel = say(`tab.${tab}`);
    this.#panel.tabIndex = tab === "memory" ? 0 : -1; // scrolls, and holds nothing that takes the focus
    if (rows) {
      this.#refreshRows();
      this.#layOut(model, rows);
      const source = tab === "structure" ? this.#tree(model) : this.#parameters(model);
      if (this.#grid) this.#grid.setSource(source);
      else this.#grid = new Grid(source);
      this.#grid.showSort(tab === "parameters" ? (Object.keys(SORTS).find((key) => SORTS[key] === model.sortKey) ?? "") : "", model.sortDown);
      if (!this.#panel.contains(this.#grid.root)) this.#panel.replaceChildren(this.#grid.root);
      this.#grid.select(this.#placeOf(this.#selected));
      return;
    }
    if (tab === "memory") this.#panel.replaceChildren(memoryTables(model.table));
    else this.#panel.replaceChildren(findingsList(model.table.findings, (finding) => this.#openFinding(finding)));
  }

  #tabButton(name: Tab, current: boolean): HTMLElement {
    const count = this.#model!.table.findings.length;
    const made = button(say(`tab.${name}`), "tab", () => this.#openTab(name));
    made.role = "tab";
    made.ariaSelected = String(current);
    made.tabIndex = current ? 0 : -1;
    if (name === "findings" && count) {
      const red = this.#model!.table.findings.some((finding) => finding.severity !== "info");
      made.append(element("strong", { class: red ? "red" : "" }, ` ${count}`));
    }
    made.addEventListener("keydown", (event) => {
      const move = arrowStep(event);
      if (!move) return;
      this.#openTab(TABS[(TABS.indexOf(name) + move + TABS.length) % TABS.length]);
      (this.#tabs.querySelector("[aria-selected=true]") as HTMLElement).focus();
      event.preventDefault();
    });
    return made;
  }

  #tree(model: TreeModel): GridSource {
    const columns = this.#columns;
    return {
      label: say("tab.structure"),
      role: "treegrid",
      columns,
      count: () => model.shown.count,
      fill: (row, cells, place) =>
        fillRow(model, columns, row, cells, model.shown.rows[place], model.shown.heads[place], model.shown.levels[place]),
      key: (event, place) => this.#treeKey(model, event, place),
      select: (place) => this.#select(model.shown.rows[place]),
      toggle: (place) => this.#toggleRow(model, place),
      empty: () => (model.filter ? say("noRows") : say("noChange")),
    };
  }

  #parameters(model: TreeModel): GridSource {
    const columns = this.#columns;
    return {
      label: say("tab.parameters"),
      role: "grid",
      columns,
      count: () => this.#flat.length,
      fill: (row, cells, place) => fillRow(model, columns, row, cells, this.#flat[place], -1, 0),
      key: () => false,
      select: (place) => this.#select(this.#flat[place]),
      sort: (key) => {
        model.sortDown = model.sortKey === SORTS[key] ? !model.sortDown : true;
        model.sortKey = SORTS[key];
        this.#change(() => undefined);
        this.#grid?.showSort(key, model.sortDown);
      },
      empty: () => (model.filter ? say("noRows") : say("noChange")),
    };
  }

  #treeKey(model: TreeModel, event: KeyboardEvent, place: number): boolean {
    const row = model.shown.rows[place];
    if (event.key === "ArrowRight") {
      if (!model.hasChildren(row)) return true;
      if (!model.isOpen(row)) this.#toggleRow(model, place);
      else this.#grid!.go(place + 1, true);
    } else if (event.key === "ArrowLeft") {
      if (model.isOpen(row) && model.hasChildren(row)) this.#toggleRow(model, place);
      else {
        const level = model.shown.levels[place];
        let above = place;
        while (above > 0 && model.shown.levels[above] >= level) above--;
        this.#grid!.go(above, true);
      }
    } else if (event.key === "*") {
      this.#change(() => model.openAll(row));
    } else return false;
    return true;
  }

  #toggleRow(model: TreeModel, place: number): void {
    const row = model.shown.rows[place];
    this.#change(() => model.setOpen(row, !model.isOpen(row)));
    this.#grid?.go(model.placeOf(row), true);
  }

  #change(act: (model: TreeModel) => void): void {
    const model = this.#model;
    if (!model) return;
    act(model);
    this.#toggles.changes.ariaPressed = String(model.onlyChanges);
    this.#refreshRows();
    this.#layOutAgain();
    this.#grid?.refresh();
    this.#grid?.select(this.#placeOf(this.#selected));
  }

  #refreshRows(): void {
    const model = this.#model!;
    if (this.#tab === "parameters") this.#flat = model.tensorRows();
    const [shown, all] = this.#tab === "parameters" ? [this.#flat.length, model.tensors.length] : [model.shown.count, model.rows];
    this.#counter.textContent = say("rows", { shown, count: all });
  }

  #placeOf(row: number): number {
    if (row < 0 || !this.#model) return -1;
    return this.#tab === "parameters" ? this.#flat.indexOf(row) : this.#model.placeOf(row);
  }

  #select(row: number): void {
    this.#selected = row;
    this.#grid?.select(this.#placeOf(row));
    this.#showDetails(row);
  }

  /** Shows a row of the tree, whatever hides it. */
  #reveal(row: number, focus: boolean): void {
    const model = this.#model!;
    if (this.#tab === "memory" || this.#tab === "findings") {
      if (!focus) return this.#select(row);
      this.#openTab("structure");
    }
    if (this.#tab === "structure") {
      const place = model.reveal(row);
      this.#filter.value = model.filter;
      this.#toggles.fold.ariaPressed = String(model.fold);
      this.#change(() => undefined);
      this.#select(row);
      if (place >= 0) this.#grid!.go(place, focus);
    } else this.#select(row);
  }

  #openFinding(finding: Finding): void {
    const row = redRow(this.#model!.table, finding);
    if (row < 0) return;
    this.#openTab("structure");
    this.#reveal(row, true);
  }

  #step(direction: 1 | -1): void {
    const model = this.#model!;
    if (this.#tab !== "structure") this.#openTab("structure");
    const from = this.#selected >= 0 ? this.#selected : direction > 0 ? 0 : model.rows;
    const row = model.changeFrom(from, direction);
    if (row >= 0) this.#reveal(row, true);
  }

  #showDetails(row: number): void {
    const outside = this.#outside;
    const { dialog } = this;
    const deeds: Deeds = {
      remove: outside.remove && ((adapter) => outside.remove!(dialog, adapter)),
      repair: outside.repair && (() => outside.repair!(dialog)),
      select: (other) => this.#reveal(other, true),
    };
    const model = this.#model!;
    this.#details.replaceChildren(...detailsOf(model, Math.max(0, row), deeds));
    this.#details.scrollTop = 0;
  }

  #key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    event.stopPropagation(); // the notebook has shortcuts of its own
    if (target.matches("input, select, textarea") || this.dialog.root.open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") this.dialog.help();
    else if (event.key === "/") this.#filter.focus();
    else if (event.key === "n") this.#step(1);
    else if (event.key === "p") this.#step(-1);
    else return;
    event.preventDefault();
  }
}

/** Of a finding's rows the first that is red: its own row may be a container. */
function redRow(table: Table, finding: Finding): number {
  return finding.rows.find((row) => table.columns.status[row] >= LEFTOVER) ?? finding.row;
}

function isFailure(value: unknown): value is Failure {
  return typeof value === "object" && value !== null && "what" in value;
}
