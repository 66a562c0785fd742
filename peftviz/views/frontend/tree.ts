/** A view table as a tree: what its rows are, whatever of it is on show. No DOM and no object a row. */

import type { Column, ColumnName, FieldChange, Finding, Payload, Table } from "./wire.ts";

export const MODULE = 0;
export const SAME = 0;
export const INSIDE = 2;
export const LEFTOVER = 10;

/** Old path of what was the whole model before it was wrapped. */
const THE_MODEL = "the model";

export class Tree {
  readonly table: Table;
  readonly parent: Int32Array;
  /** For each row, the row after its last descendant. */
  readonly end: Int32Array;
  /** Number of members of the run that the row leads, 0 for others. */
  readonly runOf: Uint32Array;
  /** Whether a row is a further member of a run. */
  readonly follower: Uint8Array;
  #tensors: Int32Array | null = null;
  readonly hasChanges: boolean;
  /** The device, when all rows have the same one and it needs no column; else empty. */
  readonly soleDevice: string;

  constructor(table: Table) {
    this.table = table;
    const count = table.rows;
    this.parent = parents(table.columns.depth);
    this.end = ends(this.parent);
    this.soleDevice = soleDevice(table);
    this.hasChanges = table.patterns.status.some((value) => value !== SAME);
    this.runOf = new Uint32Array(count);
    this.follower = new Uint8Array(count);
    for (let run = 0; run < table.runFirst.length; run++) {
      let row = table.runFirst[run];
      this.runOf[row] = table.runLength[run];
      for (let member = 1; member < table.runLength[run]; member++) {
        row = this.end[row];
        this.follower[row] = 1;
      }
    }
  }

  /** Rows of the parameters and buffers. */
  get tensors(): Int32Array {
    if (!this.#tensors) {
      const { kind } = this.table.columns;
      const found = new Int32Array(this.rows);
      let count = 0;
      for (let row = 0; row < kind.length; row++) if (kind[row] !== MODULE) found[count++] = row;
      this.#tensors = found.slice(0, count);
    }
    return this.#tensors;
  }

  get rows(): number {
    return this.table.rows;
  }

  /** What a row shows: as `columns` has it, without spreading out a whole column. */
  at(column: ColumnName, row: number): number {
    const { pattern, patterns, columns } = this.table;
    return column === "was" ? columns.was[row] : patterns[column][pattern[row]];
  }

  text(column: ColumnName, row: number): string {
    return this.table.strings[this.at(column, row)];
  }

  /** Whether a row is there on a side. */
  on(side: "before" | "after", row: number): boolean {
    return (this.at("exists", row) & (side === "before" ? 1 : 2)) !== 0;
  }

  /** The path that a row had in the state before; empty for the model itself. */
  oldPath(row: number): string {
    const { was } = this.table.columns;
    let at = row;
    while (at > 0 && !was[at]) at = this.parent[at];
    const below = this.pathFrom(row, at);
    const above = was[at] ? this.text("was", at) : "";
    return [above === THE_MODEL ? "" : above, below].filter(Boolean).join(".");
  }

  /** What the details hold of a row beyond its columns. */
  payload(row: number): Payload | undefined {
    const { detailRow, detailPayload, details } = this.table;
    const place = search(detailRow, detailRow.length, row);
    return place < 0 ? undefined : details.payloads[detailPayload[place]];
  }

  /** The fields of a row that changed. */
  changesOf(row: number): FieldChange[] {
    const { changeRow, changeKind, changes } = this.table;
    return [...changeRow.keys()].filter((place) => changeRow[place] === row).map((place) => changes[changeKind[place]]);
  }

  /** The row of a dotted path after, or else before; -1 for none. */
  rowAt(path: string): number {
    const { label, was } = this.table.columns;
    const below = (row: number, rest: string, there: boolean): number => {
      for (let at = row + 1; at < this.end[row]; at = this.end[at]) {
        if (there && !this.on("after", at)) continue;
        const own = this.table.strings[label[at]];
        if (own === rest) return at;
        const found = rest.startsWith(`${own}.`) ? below(at, rest.slice(own.length + 1), there) : -1;
        if (found >= 0) return found;
      }
      return -1;
    };
    if (!path) return 0;
    for (const there of [true, false]) {
      const found = below(0, path, there);
      if (found >= 0) return found;
    }
    const last = this.table.strings.indexOf(path.slice(path.lastIndexOf(".") + 1));
    for (let row = 1; row < this.rows; row++) {
      if ((label[row] === last || was[row]) && this.on("before", row) && this.oldPath(row) === path) return row;
    }
    return -1;
  }

  /** Full dotted path of a row; empty for the model itself. */
  path(row: number): string {
    return this.pathFrom(row, 0);
  }

  /** Dotted labels from below `above` down to `row`. */
  pathFrom(row: number, above: number): string {
    const parts: string[] = [];
    for (let at = row; at > 0 && at !== above; at = this.parent[at]) parts.push(this.text("label", at));
    return parts.reverse().join(".");
  }

  hasChildren(row: number): boolean {
    return this.end[row] > row + 1;
  }

  /** The only tensor of a module that holds nothing else, or -1. */
  onlyTensor(row: number): number {
    return this.end[row] === row + 2 && this.at("kind", row + 1) !== MODULE ? row + 1 : -1;
  }

  /** Whether a row is a tensor, or a module with no module below it. */
  holdsOnlyTensors(row: number): boolean {
    const last = this.end[row] - 1;
    return last === row ? this.at("kind", row) !== MODULE : this.parent[last] === row && this.at("kind", last) !== MODULE;
  }

  /** Status of a tensor in the flat table: what a leftover module holds is left over, too. */
  tensorStatus(row: number): number {
    const { status } = this.table.columns;
    if (status[row] !== SAME) return status[row];
    for (let at = this.parent[row]; at > 0; at = this.parent[at]) if (status[at] === LEFTOVER) return LEFTOVER;
    return SAME;
  }

  /** The row to look at first: a red one, the worst finding first; -1 when nothing is the matter. */
  worstRow(): number {
    const rows = ["error", "warning"].flatMap((word) => this.table.findings.filter(({ severity }) => severity === word).map((finding) => redRow(this.table, finding)));
    return rows.find((row) => row >= 0 && this.at("status", row) >= LEFTOVER) ?? rows.find((row) => row >= 0) ?? -1;
  }

  /** The first row of the next finding in the tree, from `row` on in a direction, starting anew at the end; -1 without findings. */
  findingFrom(row: number, step: 1 | -1): number {
    const places = [...new Set(this.table.findings.map((finding) => redRow(this.table, finding)).filter((at) => at >= 0))].sort((a, b) => a - b);
    if (step < 0) places.reverse();
    return places.find((at) => (at - row) * step > 0) ?? places[0] ?? -1;
  }
}

/** Of a finding's rows the first that is red: its own row may be a container. */
export function redRow(table: Table, finding: Finding): number {
  return finding.rows.find((row) => table.columns.status[row] >= LEFTOVER) ?? finding.row;
}

function soleDevice({ patterns, strings }: Table): string {
  const codes = new Set([...patterns.device_before, ...patterns.device_after]);
  codes.delete(0);
  return codes.size === 1 ? strings[[...codes][0]] : "";
}

/** Place of a value among the first `count` ascending ones, -1 for none. */
export function search(values: ArrayLike<number>, count: number, value: number): number {
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
