/** What the memory map divides: the rows of the tree, or its tensors by role. Columns only, no object a row. */

import type { TreeModel } from "./model.ts";
import { MODULE } from "./tree.ts";

const BASE = 0;
const WRAPPER = 1;
const WRAPPED = 2;
/** Of the path of a tensor, the last names. */
const SHOWN = 4;

/** Nodes in preorder. A node's size is the sum of the larger side of each tensor below it, so that parts fill their whole. */
export interface Hierarchy {
  readonly parent: Int32Array;
  /** For each node, the node after its last descendant. */
  readonly end: Int32Array;
  readonly size: Float64Array;
  readonly before: ArrayLike<number>;
  readonly after: ArrayLike<number>;
  /** Row of the table, -1 for a group. */
  row(node: number): number;
  /** Node that stands for a row, -1 when there is none. */
  node(row: number): number;
  label(node: number): string;
}

/** The tree itself. */
export function byModule(model: TreeModel): Hierarchy {
  const { columns, strings, rows } = model.table;
  const size = new Float64Array(rows);
  for (let row = rows - 1; row >= 0; row--) {
    if (columns.kind[row] !== MODULE) size[row] = Math.max(columns.bytes_before[row], columns.bytes_after[row]);
    if (row > 0) size[model.parent[row]] += size[row];
  }
  return {
    parent: model.parent, end: model.end, size, before: columns.bytes_before, after: columns.bytes_after,
    row: (node) => node,
    node: (row) => row,
    label: (node) => strings[columns.label[node]],
  };
}

/** Tensors by role and adapter, within that by the module that they belong to. */
export function byRole(model: TreeModel, nameOf: (role: number, adapter: string) => string): Hierarchy {
  const { columns, strings, rows } = model.table;
  const { role, adapter, label, bytes_before, bytes_after } = columns;
  const place = new Uint32Array(rows); // label of the module of the base that a row belongs to
  for (let row = 1; row < rows; row++) {
    const own = columns.kind[row] === MODULE && (role[row] === BASE || role[row] === WRAPPER);
    place[row] = own ? label[row] : place[model.parent[row]];
  }
  const group = (row: number): number => (role[row] === WRAPPED ? BASE : role[row]);
  const tensors = model.tensors.filter((row) => bytes_before[row] > 0 || bytes_after[row] > 0);
  tensors.sort((a, b) => group(a) - group(b) || adapter[a] - adapter[b] || place[a] - place[b] || a - b);

  const most = 1 + 3 * tensors.length;
  const parent = new Int32Array(most);
  const rowOf = new Int32Array(most).fill(-1);
  const nameCode = new Uint32Array(most);
  const kinds = new Uint8Array(most);
  const nodeOf = new Int32Array(rows).fill(-1);
  parent[0] = -1;
  let count = 1;
  let groupNode = 0;
  let placeNode = 0;
  let last = -1;
  for (const row of tensors) {
    const otherGroup = last < 0 || group(row) !== group(last) || adapter[row] !== adapter[last];
    if (otherGroup) {
      groupNode = count++;
      parent[groupNode] = 0;
      nameCode[groupNode] = adapter[row];
      kinds[groupNode] = 1 + group(row);
    }
    if (otherGroup || place[row] !== place[last]) {
      placeNode = count++;
      parent[placeNode] = groupNode;
      nameCode[placeNode] = place[row];
    }
    parent[count] = placeNode;
    rowOf[count] = row;
    nodeOf[row] = count++;
    last = row;
  }
  const end = new Int32Array(count);
  const size = new Float64Array(count);
  const before = new Float64Array(count);
  const after = new Float64Array(count);
  for (let node = count - 1; node >= 0; node--) {
    const row = rowOf[node];
    if (row >= 0) {
      before[node] = bytes_before[row];
      after[node] = bytes_after[row];
      size[node] = Math.max(before[node], after[node]);
    }
    end[node] = Math.max(end[node], node + 1);
    if (node === 0) break;
    const above = parent[node];
    size[above] += size[node];
    before[above] += before[node];
    after[above] += after[node];
    end[above] = Math.max(end[above], end[node]);
  }
  return {
    parent: parent.subarray(0, count), end, size, before, after,
    row: (node) => rowOf[node],
    node: (row) => nodeOf[row],
    label: (node) =>
      node === 0 ? strings[label[0]]
        : rowOf[node] >= 0 ? model.path(rowOf[node]).split(".").slice(-SHOWN).join(".")
          : kinds[node] ? nameOf(kinds[node] - 1, strings[nameCode[node]])
            : strings[nameCode[node]] || strings[label[0]],
  };
}
