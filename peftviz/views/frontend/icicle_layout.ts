/** Where each piece of the memory map lies: pure arithmetic. What is narrower than a few pixels is summed up. */

import type { Hierarchy } from "./hierarchy.ts";

/** Pieces narrower than this become one with their like neighbours. */
const NARROW = 3;
/** Levels without a branch that are shown as one piece. */
const MAX_CHAIN = 64;

/** Pieces as columns, from the top level to the deepest. */
export interface Pieces {
  count: number;
  /** The last node of the chain that the piece shows; of summed-up ones the node that holds them. */
  node: Int32Array;
  /** The first node of the chain; the same as `node` when it is none. */
  head: Int32Array;
  /** How many nodes a piece sums up, 0 for a piece of its own. */
  summed: Int32Array;
  level: Uint16Array;
  x: Float64Array;
  width: Float64Array;
  /** Levels that hold a piece. */
  levels: number;
}

/** Lays out what is at and below a node. */
export function layOut(tree: Hierarchy, root: number, width: number, maxLevels: number): Pieces {
  const most = Math.max(1, Math.ceil(width / NARROW + 2) * 2 * maxLevels);
  const pieces: Pieces = {
    count: 0, node: new Int32Array(most), head: new Int32Array(most), summed: new Int32Array(most), level: new Uint16Array(most),
    x: new Float64Array(most), width: new Float64Array(most), levels: 0,
  };
  add(pieces, endOfChain(tree, root), root, 0, 0, 0, width);
  for (let at = 0; at < pieces.count; at++) {
    const level = pieces.level[at] + 1;
    if (level >= maxLevels || pieces.summed[at]) continue;
    divide(tree, pieces, at, level);
  }
  return pieces;
}

/** The piece under a point, -1 for none. */
export function pieceAt(pieces: Pieces, x: number, level: number): number {
  for (let at = 0; at < pieces.count; at++) {
    if (pieces.level[at] === level && pieces.x[at] <= x && x < pieces.x[at] + pieces.width[at]) return at;
  }
  return -1;
}

/** The deepest piece that shows a node or something around it, -1 for none. */
export function pieceOf(tree: Hierarchy, pieces: Pieces, node: number): number {
  let found = -1;
  for (let at = 0; at < pieces.count; at++) {
    if (!pieces.summed[at] && pieces.head[at] <= node && node < tree.end[pieces.head[at]]) found = at;
  }
  return found;
}

/** The piece above, below or beside another, -1 for none. */
export function neighbour(pieces: Pieces, at: number, way: "up" | "down" | "left" | "right"): number {
  const middle = pieces.x[at] + pieces.width[at] / 2;
  if (way === "up") return pieces.level[at] ? pieceAt(pieces, middle, pieces.level[at] - 1) : -1;
  const level = way === "down" ? pieces.level[at] + 1 : pieces.level[at];
  let found = -1;
  for (let other = 0; other < pieces.count; other++) {
    if (pieces.level[other] !== level || other === at) continue;
    const { x } = pieces;
    if (way === "down") {
      if (x[other] >= x[at] - 0.01 && x[other] < x[at] + pieces.width[at] && (found < 0 || x[other] < x[found])) found = other;
    } else if (way === "right") {
      if (x[other] > x[at] && (found < 0 || x[other] < x[found])) found = other;
    } else if (x[other] < x[at] && (found < 0 || x[other] > x[found])) found = other;
  }
  return found;
}

/** A node all of whose bytes lie in one child says nothing beside it. */
function endOfChain(tree: Hierarchy, node: number): number {
  for (let step = 0; step < MAX_CHAIN; step++) {
    const child = soleChild(tree, node);
    if (child < 0) return node;
    node = child;
  }
  return node;
}

function soleChild(tree: Hierarchy, node: number): number {
  for (let child = node + 1; child < tree.end[node]; child = tree.end[child]) {
    if (tree.size[child] > 0) return tree.size[child] === tree.size[node] && tree.end[child] > child + 1 ? child : -1;
  }
  return -1;
}

function divide(tree: Hierarchy, pieces: Pieces, at: number, level: number): void {
  const node = pieces.node[at];
  const total = tree.size[node];
  if (!(total > 0)) return;
  const scale = pieces.width[at] / total;
  let x = pieces.x[at];
  let summed = 0;
  let start = x;
  const flush = (): void => {
    if (summed && x - start >= 0.5) add(pieces, node, node, summed, level, start, x - start);
    summed = 0;
  };
  for (let child = node + 1; child < tree.end[node]; child = tree.end[child]) {
    const width = tree.size[child] * scale;
    if (!width) continue;
    if (width < NARROW) {
      if (!summed) start = x;
      else if (x - start >= NARROW) {
        flush();
        start = x;
      }
      summed++;
      x += width;
      continue;
    }
    flush();
    add(pieces, endOfChain(tree, child), child, 0, level, x, width);
    x += width;
  }
  flush();
}

function add(pieces: Pieces, node: number, head: number, summed: number, level: number, x: number, width: number): void {
  const at = pieces.count;
  if (at >= pieces.node.length) return;
  pieces.node[at] = node;
  pieces.head[at] = head;
  pieces.summed[at] = summed;
  pieces.level[at] = level;
  pieces.x[at] = x;
  pieces.width[at] = width;
  pieces.levels = Math.max(pieces.levels, level + 1);
  pieces.count++;
}
