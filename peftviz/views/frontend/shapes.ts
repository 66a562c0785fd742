/** Shapes of a drawing as they come from `views/renderers/drawing.py`, checked once more before anything is made of them. */

export const COLOURS = [
  "", "ink", "quiet", "line", "ground", "red", "red-ground", "added", "added-ground", "removed", "removed-ground", "moved", "moved-ground",
  "replaced", "replaced-ground", "changed", "changed-ground",
] as const;

type Colour = (typeof COLOURS)[number];

export type Shape =
  | { kind: "polygon"; row: number; fill: Colour; stroke: Colour; points: string }
  | { kind: "path"; row: number; fill: Colour; stroke: Colour; dashed: boolean; d: string }
  | {
      kind: "text"; row: number; fill: Colour; x: number; y: number; anchor: "start" | "middle" | "end"; size: number;
      bold: boolean; italic: boolean; code: boolean; text: string;
    };

export interface Drawing {
  width: number;
  height: number;
  shift: [x: number, y: number];
  shapes: Shape[];
}

const POINTS = /^[-\d.eE, ]*$/;
const PATH = /^[MCLZ\-\d.eE, ]*$/;
const MAX_SHAPES = 5_000;
const MAX_TEXT = 400;

/** Takes what is known and leaves the rest; throws when it is no drawing at all. */
export function readDrawing(value: unknown): Drawing {
  const given = value as { width?: unknown; height?: unknown; shift?: unknown; shapes?: unknown };
  const shift = given.shift as unknown[];
  if (!Array.isArray(given.shapes) || !Array.isArray(shift)) throw new TypeError("not a drawing");
  return {
    width: size(given.width), height: size(given.height), shift: [number(shift[0]), number(shift[1])],
    shapes: given.shapes.slice(0, MAX_SHAPES).map(readShape).filter((shape): shape is Shape => shape !== null),
  };
}

function readShape(value: unknown): Shape | null {
  if (!Array.isArray(value)) return null;
  const [kind, row, fill, ...rest] = value as unknown[];
  const place = { row: Number.isInteger(row) ? (row as number) : -1, fill: colour(fill) };
  if (kind === "polygon" && typeof rest[1] === "string" && POINTS.test(rest[1])) {
    return { kind, ...place, stroke: colour(rest[0]), points: rest[1] };
  }
  if (kind === "path" && typeof rest[2] === "string" && PATH.test(rest[2])) {
    return { kind, ...place, stroke: colour(rest[0]), dashed: rest[1] === true, d: rest[2] };
  }
  if (kind === "text" && typeof rest[7] === "string") {
    const [x, y, anchor, points, bold, italic, code, text] = rest;
    return {
      kind, ...place, x: number(x), y: number(y), anchor: anchor === "middle" || anchor === "end" ? anchor : "start", size: number(points),
      bold: bold === true, italic: italic === true, code: code === true, text: (text as string).slice(0, MAX_TEXT),
    };
  }
  return null;
}

function colour(value: unknown): Colour {
  return COLOURS.find((known) => known === value) ?? "ink";
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function size(value: unknown): number {
  return Math.min(Math.max(number(value), 1), 100_000);
}
