import assert from "node:assert/strict";
import test from "node:test";
import { readDrawing } from "../shapes.ts";

const drawing = (...shapes: unknown[]): Record<string, unknown> => ({ width: 10, height: 20, shift: [4, 5], shapes });

test("shapes are read as they were sent", () => {
  const { shapes, shift, width } = readDrawing(
    drawing(["polygon", 3, "red-ground", "", "0,0 1,1"], ["path", -1, "", "moved", true, "M0,0C1,1 2,2 3,3"], ["text", 3, "ink", 1, 2, "end", 11, true, false, true, "<b>"]),
  );
  assert.deepEqual([width, shift], [10, [4, 5]]);
  assert.deepEqual(shapes, [
    { kind: "polygon", row: 3, fill: "red-ground", stroke: "", points: "0,0 1,1" },
    { kind: "path", row: -1, fill: "", stroke: "moved", dashed: true, d: "M0,0C1,1 2,2 3,3" },
    { kind: "text", row: 3, fill: "ink", x: 1, y: 2, anchor: "end", size: 11, bold: true, italic: false, code: true, text: "<b>" },
  ]);
});

test("what is not known is left out, and odd values become harmless", () => {
  const { shapes, height } = readDrawing({
    ...drawing(
      ["script", 1, "alert(1)"], ["polygon", 1, "ink", "", "url(#x)"], ["path", 1, "ink", "", true, "M0 0 url(x)"], "text", null, {}, ["text", 1],
      ["polygon", "1", "url(x)", "javascript:", "0,0"], ["text", 1.5, "ink", NaN, "2", "evil", 1e999, 1, 1, 1, "t".repeat(1000)],
    ),
    height: 1e12,
  });
  assert.equal(height, 100_000);
  assert.equal(shapes.length, 2);
  assert.deepEqual(shapes[0], { kind: "polygon", row: -1, fill: "ink", stroke: "ink", points: "0,0" });
  const text = shapes[1] as Extract<(typeof shapes)[1], { kind: "text" }>;
  assert.deepEqual([text.row, text.x, text.y, text.anchor, text.size, text.bold, text.text.length], [-1, 0, 0, "start", 0, false, 400]);
});

test("what is no drawing is refused", () => {
  for (const value of [{}, { shapes: [] }, { shapes: "x", shift: [] }]) assert.throws(() => readDrawing(value));
});
