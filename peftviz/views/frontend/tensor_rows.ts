/** Parameters and buffers as a flat table: sorted, and in groups. Bytes count shared storage once, as in the rows themselves. */

import { LEFTOVER, type Tree } from "./tree.ts";

export const GROUPINGS = ["role", "adapter", "dtype", "device", "layer", "class"] as const;
export type Grouping = (typeof GROUPINGS)[number];

/** Tensors that have something in common; bytes and elements are sums over them. */
export interface Group {
  /** What they have in common: a code of the table's strings; of a role its code; of a layer its row. */
  code: number;
  rows: Int32Array;
  elements: number;
  before: number;
  after: number;
}

/** Code of tensors that a finding says should be gone, among the codes of roles. */
export const LEFTOVER_ROLE = 6;

/** Sorts rows by a column; of those alike the one that stands first in the tree comes first. */
export function sortTensors(tree: Tree, rows: Int32Array, key: string, down: boolean): Int32Array {
  const value = valueOf(tree, key);
  const sign = down ? -1 : 1;
  const values = new Float64Array(tree.rows);
  for (const row of rows) values[row] = sign * value(row);
  return rows.sort((a, b) => values[a] - values[b] || a - b);
}

/** Puts rows into groups; each row is in one, so that the sums add up. */
export function groupTensors(tree: Tree, rows: Int32Array, by: Grouping): Group[] {
  const code = codeOf(tree, by);
  const members = new Map<number, number[]>();
  for (const row of rows) {
    const own = code(row);
    const list = members.get(own);
    if (list) list.push(row);
    else members.set(own, [row]);
  }
  return [...members].map(([own, list]) => ({ code: own, ...sums(tree, list), rows: Int32Array.from(list) }));
}

/** Sorts groups by an amount, or else by name. */
export function sortGroups(groups: Group[], key: string, down: boolean, name: (group: Group) => string): Group[] {
  const sign = down ? -1 : 1;
  const amount: Readonly<Record<string, (group: Group) => number>> = {
    elements: ({ elements }) => elements, before: ({ before }) => before, after: ({ after }) => after, memory: ({ after }) => after, difference: ({ before, after }) => after - before,
  };
  const value = amount[key];
  return groups.sort((a, b) => (value ? sign * (value(a) - value(b)) : key ? sign * compare(name(a), name(b)) : a.code - b.code));
}

export function sums(tree: Tree, rows: Iterable<number>): Pick<Group, "elements" | "before" | "after"> {
  const { columns } = tree.table;
  const total = { elements: 0, before: 0, after: 0 };
  for (const row of rows) {
    total.elements += columns.numel_after[row];
    total.before += columns.bytes_before[row];
    total.after += columns.bytes_after[row];
  }
  return total;
}

function codeOf(tree: Tree, by: Grouping): (row: number) => number {
  const { columns } = tree.table;
  if (by === "role") return (row) => (tree.tensorStatus(row) === LEFTOVER ? LEFTOVER_ROLE : columns.role[row]);
  if (by === "adapter") return (row) => columns.adapter[row];
  if (by === "class") return (row) => classOf(tree, row);
  if (by === "layer") {
    const layers = layersOf(tree);
    return (row) => layers[row];
  }
  const after = columns[`${by}_after`];
  const before = columns[`${by}_before`];
  return (row) => after[row] || before[row];
}

/** Code of the class of the module that a tensor belongs to. */
export function classOf(tree: Tree, row: number): number {
  const owner = tree.parent[row];
  return tree.at("type_after", owner) || tree.at("type_before", owner);
}

/** For each row the outermost numbered module that it is in, 0 for rows outside of all. */
function layersOf({ parent, rows, table: { columns, strings } }: Tree): Int32Array {
  const numbered = strings.map((text) => /^\d+$/.test(text));
  const layers = new Int32Array(rows);
  for (let row = 1; row < rows; row++) layers[row] = layers[parent[row]] || (numbered[columns.label[row]] ? row : 0);
  return layers;
}

function valueOf(tree: Tree, key: string): (row: number) => number {
  const { columns } = tree.table;
  if (key === "change") return (row) => tree.tensorStatus(row);
  if (key === "difference") return (row) => columns.bytes_after[row] - columns.bytes_before[row];
  if (key === "path") {
    const order = pathOrder(tree);
    return (row) => order[row];
  }
  const numbers: Readonly<Record<string, ArrayLike<number>>> = {
    trainable: columns.trainable_after, role: columns.role, elements: columns.numel_after, before: columns.bytes_before, after: columns.bytes_after, memory: columns.bytes_after,
  };
  if (numbers[key]) return (row) => numbers[key][row];
  const rank = ranks(tree.table.strings);
  if (key === "class") return (row) => rank[classOf(tree, row)];
  if (key === "adapter") return (row) => rank[columns.adapter[row]];
  const [after, before] = key === "shape" ? [columns.shape_after, columns.shape_before] : key === "dtype" ? [columns.dtype_after, columns.dtype_before] : [columns.device_after, columns.device_before];
  return (row) => rank[after[row] || before[row]];
}

/** For each row its place when siblings are ordered by name, numbers by their value. */
function pathOrder({ end, rows, table: { columns, strings } }: Tree): Int32Array {
  const rank = ranks(strings);
  const order = new Int32Array(rows);
  const waiting = [0];
  for (let place = 0; waiting.length; place++) {
    const row = waiting.pop()!;
    order[row] = place;
    const children: number[] = [];
    for (let at = row + 1; at < end[row]; at = end[at]) children.push(at);
    children.sort((a, b) => rank[columns.label[b]] - rank[columns.label[a]]);
    for (const child of children) waiting.push(child);
  }
  return order;
}

/** For each string its place among all in order. */
function ranks(strings: readonly string[]): Uint32Array {
  const codes = [...strings.keys()].sort((a, b) => compare(strings[a], strings[b]));
  const rank = new Uint32Array(strings.length);
  codes.forEach((code, place) => (rank[code] = place));
  return rank;
}

/** Text by text, numbers by their value. */
function compare(a: string, b: string): number {
  const number = /^\d+$/;
  if (number.test(a) && number.test(b)) return Number(a) - Number(b);
  return a < b ? -1 : a > b ? 1 : 0;
}
