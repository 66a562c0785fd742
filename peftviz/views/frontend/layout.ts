/** How wide the columns are: as wide as what stands in them, the names taking what is left. */

import type { GridColumn } from "./grid.ts";

/** So many rows are measured, evenly spread; what is wider elsewhere is cut and has its whole text as a title. */
const SAMPLE = 400;
const PADDING = 16;
const BAR = 46;
const CODE = 7.3;
/** What a view without room leaves out, first to last; the details panel says it. */
const DROPPED = ["bar", "device", "shape", "elements", "dtype", "trainable", "before", "type", "bytes"];
/** Columns that may be cut, and what they keep at least. */
const LEAST: Readonly<Record<string, number>> = { name: 230, name_before: 170, name_after: 170, path: 250, type: 104, type_before: 84, type_after: 84 };

/** Wishes of the columns of one table; they only grow, so that opening a row does not make the columns jump. */
export class Layout {
  readonly #wishes = new Map<string, number>();
  readonly #widths = new Map<string, number>();
  readonly #pen: CanvasRenderingContext2D | null;

  constructor(root: HTMLElement) {
    this.#pen = document.createElement("canvas").getContext("2d");
    if (this.#pen) this.#pen.font = getComputedStyle(root).font;
  }

  /** Measures rows: `text` gives what stands in a cell, with the width in characters for names. */
  measure(columns: readonly GridColumn[], count: number, text: (key: string, place: number) => string | number): void {
    const stride = Math.max(1, Math.floor(count / SAMPLE));
    for (const { key, title, sortable } of columns) {
      let wish = Math.max(this.#wishes.get(key) ?? 0, this.#width(title) * 1.16 + (sortable ? 14 : 0));
      for (let place = count - 1; place >= 0; place -= stride) {
        const cell = text(key, place);
        wish = Math.max(wish, typeof cell === "number" ? cell * CODE : this.#width(cell));
      }
      this.#wishes.set(key, wish);
    }
  }

  /** The columns that have room, with their tracks; those that the reader chose stay in any case. */
  fit(columns: readonly GridColumn[], room: number, chosen: (key: string) => boolean): GridColumn[] {
    const dropped = new Set<string>();
    const wish = (key: string): number =>
      key === "change" ? 112 : Math.ceil(this.#wishes.get(key)! + PADDING + (isBarred(key) && !dropped.has("bar") ? BAR : 0));
    const least = (key: string): number => Math.min(wish(key), LEAST[key] ?? 340);
    const left = (): GridColumn[] => columns.filter(({ key }) => !dropped.has(key));
    const sum = (): number => left().reduce((total, { key }) => total + least(key), 0);
    for (const key of DROPPED) {
      const group = key === "bar" ? [key] : columns.map((column) => column.key).filter((own) => base(own) === key && !chosen(own));
      if (sum() > room && room > 0) for (const own of group) dropped.add(own);
    }
    const kept = left();
    const needs = kept.map(({ key }) => wish(key) - least(key));
    const share = Math.max(0, Math.min(1, (room - sum()) / (needs.reduce((total, need) => total + need) || 1)));
    const fitted = kept.map((column, index) => {
      const own = least(column.key);
      const width = `${own + Math.floor(needs[index] * share)}px`;
      return { ...column, width: column.key in LEAST ? `minmax(${width}, ${base(column.key) === "type" ? 1 : 3}fr)` : width };
    });
    return dropped.has("bar") ? fitted.map((column) => (isBarred(column.key) ? { ...column, bare: true } : column)) : fitted;
  }

  #width(text: string): number {
    let width = this.#widths.get(text);
    if (width === undefined) this.#widths.set(text, (width = this.#pen?.measureText(text).width ?? text.length * 8));
    return width;
  }
}

function isBarred(key: string): boolean {
  return key === "memory" || key === "after";
}

function base(key: string): string {
  return key.split("_")[0];
}
