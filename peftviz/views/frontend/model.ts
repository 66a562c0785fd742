/** What is open, filtered, folded and sorted: pure state over the columns, no DOM and no object a row. */

import type { Column, Finding, Payload, Table } from "./wire.ts";

export const MODULE = 0;
export const SAME = 0;
export const INSIDE = 2;
export const LEFTOVER = 10;
export const FAULT = 11;

const CONTAINERS = new Set(["ModuleDict", "ParameterDict", "BufferDict"]);
const FIRST_LOOK = 60;

/** The rows on show, in order. */
export interface Shown {
  rows: Int32Array;
  /** The topmost row of the chain that is merged into the row; the row itself when there is none. */
  heads: Int32Array;
  levels: Uint16Array;
  count: number;
}

export type SortKey = "" | "path" | "shape" | "bytes" | "numel" | "status" | "trainable" | "type";

export class TreeModel {
  readonly table: Table;
  readonly parent: Int32Array;
  /** For each row, the row after its last descendant. */
  readonly end: Int32Array;
  /** The device, when all rows have the same one and it needs no column; else empty. */
  readonly soleDevice: string;
  /** Number of members of the run that the row leads, 0 for others. */
  readonly runOf: Uint32Array;
  readonly hasChanges: boolean;
  readonly tensors: Int32Array;
  readonly #follower: Uint8Array;
  readonly #open: Uint8Array;
  readonly #container: Uint8Array;
  readonly #concerned: Uint8Array;
  #keep: Uint8Array | null = null;
  #needles: string[] = [];
  #matches: Uint8Array | null = null;
  filter = "";
  onlyChanges: boolean;
  fold = true;
  sortKey: SortKey = "";
  sortDown = true;
  shown: Shown = { rows: new Int32Array(0), heads: new Int32Array(0), levels: new Uint16Array(0), count: 0 };

  constructor(table: Table) {
    this.table = table;
    const { depth, kind, status, type_before, type_after } = table.columns;
    const count = table.rows;
    this.soleDevice = soleDevice(table);
    this.parent = parents(depth);
    this.end = ends(this.parent);
    this.#open = new Uint8Array(count);
    this.#concerned = new Uint8Array(count);
    for (const finding of table.findings) for (const row of finding.rows) this.#concerned[row] = 1;
    this.hasChanges = status.some((value) => value !== SAME);
    this.onlyChanges = this.hasChanges && !table.summary.single;
    const plainContainer = table.strings.map((text) => CONTAINERS.has(text));
    this.#container = new Uint8Array(count);
    let tensors = 0;
    for (let row = 0; row < count; row++) {
      if (kind[row] !== MODULE) tensors++;
      else if (plainContainer[type_after[row] || type_before[row]]) this.#container[row] = 1;
    }
    this.tensors = new Int32Array(tensors);
    for (let row = 0, place = 0; row < count; row++) if (kind[row] !== MODULE) this.tensors[place++] = row;
    this.runOf = new Uint32Array(count);
    this.#follower = new Uint8Array(count);
    for (let run = 0; run < table.runFirst.length; run++) {
      let row = table.runFirst[run];
      this.runOf[row] = table.runLength[run];
      for (let member = 1; member < table.runLength[run]; member++) {
        row = this.end[row];
        this.#follower[row] = 1;
      }
    }
    this.#openAtFirst();
    this.#update();
  }

  get rows(): number {
    return this.table.rows;
  }

  text(column: Column, row: number): string {
    return this.table.strings[column[row]];
  }

  /** What the details hold of a row beyond its columns. */
  payload(row: number): Payload | undefined {
    const { rows, payload, payloads } = this.table.details;
    const place = search(rows, rows.length, row);
    return place < 0 ? undefined : payloads[payload[place]];
  }

  /** The row of a dotted path, -1 for none. */
  rowAt(path: string): number {
    const { label } = this.table.columns;
    const below = (row: number, rest: string): number => {
      for (let at = row + 1; at < this.end[row]; at = this.end[at]) {
        const own = this.table.strings[label[at]];
        if (own === rest) return at;
        const found = rest.startsWith(`${own}.`) ? below(at, rest.slice(own.length + 1)) : -1;
        if (found >= 0) return found;
      }
      return -1;
    };
    return path ? below(0, path) : 0;
  }

  /** Full dotted path of a row; empty for the model itself. */
  path(row: number): string {
    return this.pathFrom(row, 0);
  }

  /** Dotted labels from below `above` down to `row`. */
  pathFrom(row: number, above: number): string {
    const parts: string[] = [];
    for (let at = row; at > 0 && at !== above; at = this.parent[at]) parts.push(this.table.strings[this.table.columns.label[at]]);
    return parts.reverse().join(".");
  }

  isOpen(row: number): boolean {
    return this.#open[row] === 1;
  }

  hasChildren(row: number): boolean {
    return this.end[row] > row + 1;
  }

  /** The only tensor of a module that holds nothing else, or -1. */
  onlyTensor(row: number): number {
    return this.end[row] === row + 2 && this.table.columns.kind[row + 1] !== MODULE ? row + 1 : -1;
  }

  /** Whether a row is a tensor, or a module with no module below it. */
  holdsOnlyTensors(row: number): boolean {
    const last = this.end[row] - 1;
    return last === row ? this.table.columns.kind[row] !== MODULE : this.parent[last] === row && this.table.columns.kind[last] !== MODULE;
  }

  /** Status of a tensor in the flat table: what a leftover module holds is left over, too. */
  tensorStatus(row: number): number {
    const { status } = this.table.columns;
    if (status[row] !== SAME) return status[row];
    for (let at = this.parent[row]; at > 0; at = this.parent[at]) if (status[at] === LEFTOVER) return LEFTOVER;
    return SAME;
  }

  setOpen(row: number, open: boolean): void {
    this.#open[row] = open ? 1 : 0;
    this.#update();
  }

  openAll(row: number): void {
    this.#open.fill(1, row, this.end[row]);
    this.#update();
  }

  setFilter(text: string): void {
    this.filter = text;
    this.#needles = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.#matches = this.#needles.length ? this.#matching() : null;
    this.#update();
  }

  setOnlyChanges(on: boolean): void {
    this.onlyChanges = on;
    this.#update();
  }

  setFold(on: boolean): void {
    this.fold = on;
    this.#update();
  }

  /** Opens what hides a row, filters included, and returns its place among the shown rows. */
  reveal(row: number): number {
    let place = this.placeOf(row);
    if (place >= 0) return place;
    for (let at = this.parent[row]; at >= 0; at = this.parent[at]) this.#open[at] = 1;
    this.#update();
    place = this.placeOf(row);
    if (place < 0 && this.fold) {
      this.fold = !this.#isFolded(row);
      this.#update();
      place = this.placeOf(row);
    }
    if (place < 0) {
      this.onlyChanges = false;
      this.setFilter("");
      place = this.placeOf(row);
    }
    return place;
  }

  placeOf(row: number): number {
    return search(this.shown.rows, this.shown.count, row);
  }

  /** The next row in the tree that changed itself, from `row` on in a direction; -1 when there is none. */
  changeFrom(row: number, step: 1 | -1): number {
    const { status } = this.table.columns;
    const folding = this.folding;
    for (let at = row + step; at >= 0 && at < this.rows; at += step) {
      if (status[at] === SAME || status[at] === INSIDE) continue;
      if (folding && this.#isFolded(at)) continue;
      return at;
    }
    return -1;
  }

  /** The row to look at first: a red one, the worst finding first; -1 when nothing is the matter. */
  worstRow(): number {
    const rows = ["error", "warning"].flatMap((word) => this.table.findings.filter(({ severity }) => severity === word).map((finding) => redRow(this.table, finding)));
    return rows.find((row) => row >= 0 && this.table.columns.status[row] >= LEFTOVER) ?? rows.find((row) => row >= 0) ?? -1;
  }

  /** The first row of the next finding in the tree, from `row` on in a direction, starting anew at the end; -1 without findings. */
  findingFrom(row: number, step: 1 | -1): number {
    const places = [...new Set(this.table.findings.map((finding) => redRow(this.table, finding)).filter((at) => at >= 0))].sort((a, b) => a - b);
    if (step < 0) places.reverse();
    return places.find((at) => (at - row) * step > 0) ?? places[0] ?? -1;
  }

  /** Tensor rows that pass the filters, sorted. */
  tensorRows(): Int32Array {
    const { columns } = this.table;
    const rows = this.tensors.filter(
      (row) => (!this.onlyChanges || this.tensorStatus(row) !== SAME) && (!this.#matches || this.#passes(row)),
    );
    const key = this.sortKey;
    if (!key) return rows;
    const sign = this.sortDown ? -1 : 1;
    if (key === "path") {
      const paths = new Map<number, string>();
      for (const row of rows) paths.set(row, this.path(row));
      return rows.sort((a, b) => sign * compare(paths.get(a)!, paths.get(b)!) || a - b);
    }
    if (key === "type" || key === "shape") {
      const codes = key === "type" ? columns.dtype_after : columns.shape_after;
      const strings = this.table.strings;
      return rows.sort((a, b) => sign * compare(strings[codes[a]], strings[codes[b]]) || a - b);
    }
    const values =
      key === "status" ? statuses(this, rows) : key === "trainable" ? columns.trainable_after : key === "numel" ? columns.numel_after : columns.bytes_after;
    return rows.sort((a, b) => sign * (values[a] - values[b]) || a - b);
  }

  /** Whether numbered rows that are alike are shown as one: not while a text filter looks for a certain one. */
  get folding(): boolean {
    return this.fold && !this.#matches;
  }

  #isFolded(row: number): boolean {
    for (let at = row; at > 0; at = this.parent[at]) if (this.#follower[at]) return true;
    return false;
  }

  #matching(): Uint8Array {
    const hits = new Uint8Array(this.table.strings.length);
    this.table.strings.forEach((text, code) => {
      const lower = text.toLowerCase();
      this.#needles.forEach((needle, bit) => {
        if (bit < 8 && lower.includes(needle)) hits[code] |= 1 << bit;
      });
    });
    return hits;
  }

  /** Each word must occur in one of the row's texts, or, where it holds a dot, in its path. */
  #passes(row: number): boolean {
    const { columns } = this.table;
    const hits = this.#matches!;
    let found =
      hits[columns.label[row]] | hits[columns.was[row]] | hits[columns.note[row]] | hits[columns.adapter[row]] |
      hits[columns.type_before[row]] | hits[columns.type_after[row]] | hits[columns.dtype_before[row]] | hits[columns.dtype_after[row]] |
      hits[columns.shape_before[row]] | hits[columns.shape_after[row]] | hits[columns.device_before[row]] | hits[columns.device_after[row]];
    const all = (1 << Math.min(8, this.#needles.length)) - 1;
    if ((found & all) === all) return true;
    let path = "";
    for (let bit = 0; bit < this.#needles.length && bit < 8; bit++) {
      if (found & (1 << bit) || !this.#needles[bit].includes(".")) continue;
      path ||= this.path(row).toLowerCase();
      if (path.includes(this.#needles[bit])) found |= 1 << bit;
    }
    return (found & all) === all;
  }

  #update(): void {
    this.#keep = this.#kept();
    this.shown = this.#walk();
  }

  /** Rows that pass the filters or have such a row below them; null when no filter is on. */
  #kept(): Uint8Array | null {
    if (!this.#matches && !this.onlyChanges) return null;
    const { status } = this.table.columns;
    const keep = new Uint8Array(this.rows);
    for (let row = this.rows - 1; row >= 0; row--) {
      if (!keep[row] && (!this.onlyChanges || status[row] !== SAME) && (!this.#matches || this.#passes(row))) keep[row] = 1;
      if (keep[row] && row > 0) keep[this.parent[row]] = 1;
    }
    return keep;
  }

  #walk(): Shown {
    const { status, kind } = this.table.columns;
    const { parent, end, rows: total } = this;
    const keep = this.#keep;
    const follower = this.#follower;
    const folding = this.folding;
    const searching = this.#matches !== null;
    const only = new Int32Array(total).fill(-1); // the only child that may show; -2 when there are several
    for (let row = 1; row < total; row++) {
      if ((keep && !keep[row]) || (folding && follower[row])) continue;
      const above = parent[row];
      only[above] = only[above] === -1 ? row : -2;
    }
    const rows = new Int32Array(total);
    const heads = new Int32Array(total);
    const levels = new Uint16Array(total);
    const level = new Uint16Array(total); // level of a row's children
    const head = new Int32Array(total); // topmost merged row above, for the children
    let count = 0;
    for (let row = 0; row < total; ) {
      if ((keep && !keep[row]) || (folding && row > 0 && follower[row])) {
        row = end[row];
        continue;
      }
      const above = parent[row];
      const own = above >= 0 ? level[above] : 1;
      const first = above >= 0 && head[above] >= 0 ? head[above] : row;
      const child = only[row];
      const quiet = status[row] === SAME || status[row] === INSIDE || (this.#container[row] === 1 && status[row] < LEFTOVER);
      const merged =
        this.fold && quiet && kind[row] === MODULE && !this.#concerned[row] && !this.runOf[row] &&
        (child >= 0 ? kind[child] === MODULE : child === -2 && this.#container[row] === 1);
      if (merged) {
        level[row] = own;
        head[row] = first;
        row++;
        continue;
      }
      rows[count] = row;
      heads[count] = first;
      levels[count++] = own;
      level[row] = own + 1;
      head[row] = -1;
      row = this.#open[row] || (searching && child !== -1) ? row + 1 : end[row];
    }
    return { rows: rows.slice(0, count), heads: heads.slice(0, count), levels: levels.slice(0, count), count };
  }

  /** Opens the way to what changed, or the first levels of a single state. */
  #openAtFirst(): void {
    const { status, depth } = this.table.columns;
    const total = this.rows;
    if (!total) return;
    const mixed = new Uint8Array(total);
    for (let row = total - 1; row > 0; row--) {
      const above = this.parent[row];
      const other = status[row] !== status[above] && status[row] !== SAME;
      if (mixed[row] || other) mixed[above] = 1;
      if (mixed[row] && status[row] !== SAME) this.#open[row] = 1;
    }
    this.#open[0] = 1;
    if (this.hasChanges) {
      for (let row = 1; row < total; row++) if (status[row] >= LEFTOVER || this.#concerned[row]) this.#openAbove(row);
      if (!this.table.summary.single) return;
    }
    const follows = new Uint8Array(total);
    const perDepth: number[] = [];
    for (let row = 1; row < total; row++) {
      follows[row] = this.#follower[row] | follows[this.parent[row]];
      if (!follows[row]) perDepth[depth[row]] = (perDepth[depth[row]] ?? 0) + 1;
    }
    let room = FIRST_LOOK;
    let deepest = 0;
    while (deepest + 1 < perDepth.length && (room -= perDepth[deepest + 1] ?? 0) > 0) deepest++;
    for (let row = 0; row < total; row++) if (depth[row] < deepest) this.#open[row] = 1;
  }

  #openAbove(row: number): void {
    for (let at = this.parent[row]; at >= 0 && !this.#open[at]; at = this.parent[at]) this.#open[at] = 1;
  }
}

/** Place of a value among the first `count` ascending ones, -1 for none. */
function search(values: ArrayLike<number>, count: number, value: number): number {
  let low = 0;
  let high = count - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (values[middle] === value) return middle;
    if (values[middle] < value) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

export function parents(depth: Column): Int32Array {
  const parent = new Int32Array(depth.length);
  const last: number[] = [];
  for (let row = 0; row < depth.length; row++) {
    parent[row] = depth[row] > 0 ? last[depth[row] - 1] : -1;
    last[depth[row]] = row;
  }
  return parent;
}

export function ends(parent: Int32Array): Int32Array {
  const end = new Int32Array(parent.length);
  for (let row = parent.length - 1; row >= 0; row--) {
    if (end[row] === 0) end[row] = row + 1;
    const above = parent[row];
    if (above >= 0 && end[above] < end[row]) end[above] = end[row];
  }
  return end;
}

/** Of a finding's rows the first that is red: its own row may be a container. */
export function redRow(table: Table, finding: Finding): number {
  return finding.rows.find((row) => table.columns.status[row] >= LEFTOVER) ?? finding.row;
}

function soleDevice({ columns, strings, rows }: Table): string {
  let sole = 0;
  for (const codes of [columns.device_before, columns.device_after]) {
    for (let row = 0; row < rows; row++) {
      const code = codes[row];
      if (!code || code === sole) continue;
      if (sole) return "";
      sole = code;
    }
  }
  return strings[sole];
}

function statuses(model: TreeModel, rows: Int32Array): Uint8Array {
  const all = new Uint8Array(model.rows);
  for (const row of rows) all[row] = model.tensorStatus(row);
  return all;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
