/** The tab with the tree: one unified tree, or the states before and after beside each other. */

import { cellText, columnsFor, fillRow } from "./columns.ts";
import type { Desk, Tab } from "./desk.ts";
import { RowGrid } from "./row_grid.ts";
import { say } from "./messages.ts";

export class Structure implements Tab {
  readonly id = "structure";
  readonly rows = "tree";
  readonly #desk: Desk;
  readonly #grid: RowGrid;
  split = false;

  constructor(desk: Desk) {
    this.#desk = desk;
    this.#grid = new RowGrid(desk);
  }

  open(panel: HTMLElement): void {
    const { model } = this.#desk;
    const split = this.split && !model.table.summary.single;
    this.#grid.open(panel, {
      label: say("tab.structure"),
      role: "treegrid",
      all: columnsFor(split ? "split" : "tree"),
      layout: split ? "split" : "tree",
      count: () => model.shown.count,
      text: (key, place) => cellText(model, key, model.shown.rows[place], model.shown.heads[place], model.shown.levels[place]),
      fill: (columns, row, cells, place) =>
        fillRow(model, columns, row, cells, model.shown.rows[place], model.shown.heads[place], model.shown.levels[place]),
      key: (event, place) => this.#key(event, place),
      select: (place) => this.#desk.select(model.shown.rows[place]),
      toggle: (place) => this.#toggle(place),
      empty: () => say(model.filter ? "noRows" : "noChange"),
      placeOf: (row) => model.placeOf(row),
    });
  }

  refresh(): void {
    this.#grid.refresh();
  }

  resize(): void {
    this.#grid.resize();
  }

  select(row: number): void {
    this.#grid.select(row);
  }

  reveal(row: number, focus: boolean): boolean {
    const place = this.#desk.model.reveal(row);
    this.#desk.change(() => undefined);
    if (place >= 0) this.#grid.go(place, focus);
    return true;
  }

  enter(): void {
    this.#grid.go(0, true);
  }

  counted(): readonly [number, number] {
    const { model } = this.#desk;
    return [model.shown.count, model.rows];
  }

  destroy(): void {
    this.#grid.destroy();
  }

  #toggle(place: number): void {
    const { model } = this.#desk;
    const row = model.shown.rows[place];
    this.#desk.change(() => model.setOpen(row, !model.isOpen(row)));
    this.#grid.go(model.placeOf(row), true);
  }

  #key(event: KeyboardEvent, place: number): boolean {
    const { model } = this.#desk;
    const row = model.shown.rows[place];
    if (event.key === "ArrowRight") {
      if (!model.hasChildren(row)) return true;
      if (!model.isOpen(row)) this.#toggle(place);
      else this.#grid.go(place + 1, true);
    } else if (event.key === "ArrowLeft") {
      if (model.isOpen(row) && model.hasChildren(row)) this.#toggle(place);
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
