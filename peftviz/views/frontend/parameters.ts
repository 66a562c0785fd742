/** The tab with the flat table of parameters and buffers. */

import { cellText, columnsFor, fillRow } from "./columns.ts";
import type { Desk, Tab } from "./desk.ts";
import { say } from "./messages.ts";
import type { SortKey } from "./model.ts";
import { RowGrid } from "./row_grid.ts";

const SORTS: Readonly<Record<string, SortKey>> = {
  path: "path", change: "status", shape: "shape", dtype: "type", trainable: "trainable", elements: "numel", memory: "bytes",
};

export class Parameters implements Tab {
  readonly id = "parameters";
  readonly rows = "table";
  readonly #desk: Desk;
  readonly #grid: RowGrid;
  #flat: Int32Array = new Int32Array(0);

  constructor(desk: Desk) {
    this.#desk = desk;
    this.#grid = new RowGrid(desk);
  }

  open(panel: HTMLElement): void {
    const { model } = this.#desk;
    this.#flat = model.tensorRows();
    this.#grid.open(panel, {
      label: say("tab.parameters"),
      role: "grid",
      all: columnsFor("parameters"),
      layout: "parameters",
      count: () => this.#flat.length,
      text: (key, place) => cellText(model, key, this.#flat[place], -1, 0),
      fill: (columns, row, cells, place) => fillRow(model, columns, row, cells, this.#flat[place], -1, 0),
      key: () => false,
      select: (place) => this.#desk.select(this.#flat[place]),
      sort: (key) => {
        model.sortDown = model.sortKey === SORTS[key] ? !model.sortDown : true;
        model.sortKey = SORTS[key];
        this.#desk.change(() => undefined);
      },
      sorted: () => [Object.keys(SORTS).find((key) => SORTS[key] === model.sortKey) ?? "", model.sortDown],
      empty: () => say(model.filter ? "noRows" : "noChange"),
      placeOf: (row) => this.#flat.indexOf(row),
    });
  }

  refresh(): void {
    this.#flat = this.#desk.model.tensorRows();
    this.#grid.refresh();
  }

  resize(): void {
    this.#grid.resize();
  }

  select(row: number): void {
    this.#grid.select(row);
  }

  reveal(row: number, focus: boolean): boolean {
    const place = this.#flat.indexOf(row);
    if (place >= 0) this.#grid.go(place, focus);
    return place >= 0;
  }

  enter(): void {
    this.#grid.go(0, true);
  }

  counted(): readonly [number, number] {
    return [this.#flat.length, this.#desk.model.tensors.length];
  }

  destroy(): void {
    this.#grid.destroy();
  }
}
