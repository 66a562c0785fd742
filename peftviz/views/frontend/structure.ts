/** The tab with the tree: one unified tree, or the states before and after beside each other. */

import { columnsFor, fillTreeRow, treeText } from "./columns.ts";
import type { Desk, Tab } from "./desk.ts";
import { element } from "./dom.ts";
import { choose } from "./menu.ts";
import { RowGrid } from "./row_grid.ts";
import { say } from "./messages.ts";

/** How many unchanged rows may stand around a change. */
const CONTEXTS = [0, 1, 3, 10];

export class Structure implements Tab {
  readonly id = "structure";
  readonly rows = "tree";
  readonly #desk: Desk;
  readonly #grid: RowGrid;
  #seen = -1;
  #filter = "";
  split = false;
  readonly tools: readonly HTMLElement[];

  constructor(desk: Desk) {
    this.#desk = desk;
    this.#grid = new RowGrid(desk);
    this.tools = [this.#grid.chooser(() => this.#contextChoice())];
  }

  open(panel: HTMLElement): void {
    const { model } = this.#desk;
    const split = this.split && !model.table.summary.single;
    this.#grid.open(panel, {
      label: say("tab.structure"),
      role: "treegrid",
      all: columnsFor(split ? "panes" : "tree", model.table.summary.single),
      layout: split ? "panes" : "tree",
      count: () => model.shown.count,
      text: (key, place) => treeText(model, key, place),
      fill: (columns, row, cells, place) => fillTreeRow(model, { columns, row, cells }, place),
      key: (event, place) => this.#key(event, place),
      select: (place) => (model.shown.gaps[place] ? this.#toggle(place) : this.#desk.select(model.shown.rows[place])),
      toggle: (place) => this.#toggle(place),
      empty: () => say(model.filter ? "noRows" : "noChange"),
      placeOf: (row) => model.placeOf(row),
      rowAt: (place) => (model.shown.gaps[place] ? -1 : model.shown.rows[place]),
    });
    panel.classList.toggle("panes", split);
    const { selected } = this.#desk;
    if (selected < 0) return;
    const place = model.placeOf(selected);
    if (place >= 0) this.#grid.go(place, false, true);
    else if (selected !== this.#seen && !model.filter) this.reveal(selected, false); // it was selected in another tab meanwhile
    this.#seen = selected;
  }

  refresh(): void {
    this.#grid.refresh();
    const { model, selected } = this.#desk;
    if (model.filter === this.#filter) return;
    this.#filter = model.filter; // other rows are on show: the selected one, if it is among them, stays in view
    const place = selected < 0 ? -1 : model.placeOf(selected);
    if (place >= 0) this.#grid.go(place, false);
  }

  resize(): void {
    this.#grid.resize();
  }

  select(row: number): void {
    this.#seen = row;
    this.#grid.showSelected();
  }

  reveal(row: number, focus: boolean): boolean {
    const place = this.#desk.model.reveal(row);
    this.#desk.change(() => undefined);
    if (place >= 0) this.#grid.go(place, focus, true);
    return true;
  }

  enter(): void {
    this.#grid.enter();
  }

  counted(): readonly [number, number] {
    const { model } = this.#desk;
    return [model.shown.count, model.rows];
  }

  destroy(): void {
    this.#grid.destroy();
  }

  #contextChoice(): readonly Node[] {
    const { model } = this.#desk;
    if (!model.onlyChanges) return [];
    const counts = CONTEXTS.map((count) => [String(count), say("contextRows", { count })] as const);
    return [element("label", {}, `${say("context")} `, choose(say("context"), counts, String(model.context), (count) => this.#desk.change(() => model.setContext(Number(count)))))];
  }

  #toggle(place: number): void {
    const { model } = this.#desk;
    const row = model.shown.rows[place];
    this.#desk.change(() => (model.shown.gaps[place] ? model.openGap(place) : model.setOpen(row, !model.isOpen(row))));
    this.#grid.go(model.placeOf(row), true);
  }

  #key(event: KeyboardEvent, place: number): boolean {
    const { model } = this.#desk;
    const row = model.shown.rows[place];
    if (event.key === "ArrowRight") {
      if (model.shown.gaps[place]) this.#toggle(place);
      else if (!model.hasChildren(row)) return true;
      else if (!model.isOpen(row)) this.#toggle(place);
      else this.#grid.go(place + 1, true);
    } else if (event.key === "ArrowLeft") {
      if (!model.shown.gaps[place] && model.isOpen(row) && model.hasChildren(row)) this.#toggle(place);
      else {
        const level = model.shown.levels[place];
        let above = place;
        while (above > 0 && model.shown.levels[above] >= level) above--;
        this.#grid.go(above, true);
      }
    } else if (event.key === "*") this.#desk.change(() => model.openAll(row));
    else return false;
    return true;
  }
}
