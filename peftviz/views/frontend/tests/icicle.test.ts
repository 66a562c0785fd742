import assert from "node:assert/strict";
import test from "node:test";
import { type Hierarchy, byModule, byRole } from "../hierarchy.ts";
import { type Pieces, layOut, neighbour, pieceAt, pieceOf } from "../icicle_layout.ts";
import { TONES, toneOf } from "../icicle_paint.ts";
import { TreeModel } from "../model.ts";
import { type Row, tableOf } from "./table.ts";

const PARAMETER = 1;
const tensor = (depth: number, label: string, bytes: number): Row => [depth, label, { kind: PARAMETER, bytes }];

const ROWS: Row[] = [
  [0, "Model", { bytes: 100 }],
  [1, "body", { bytes: 60 }],
  [2, "layers", { bytes: 60 }],
  [3, "0", { bytes: 40 }],
  tensor(4, "weight", 40),
  [3, "1", { bytes: 20 }],
  tensor(4, "weight", 20),
  [1, "nothing", {}],
  [1, "head", { bytes: 40 }],
  tensor(2, "weight", 40),
];

const shown = (tree: Hierarchy, pieces: Pieces): string[] =>
  [...Array(pieces.count).keys()].map((at) => `${pieces.level[at]} ${tree.label(pieces.head[at])}…${tree.label(pieces.node[at])} ${pieces.x[at]}+${pieces.width[at]}`);

test("each piece is as wide as its bytes, and chains are one piece", () => {
  const tree = byModule(new TreeModel(tableOf(ROWS)));
  assert.deepEqual(shown(tree, layOut(tree, 0, 100, 9)), [
    "0 Model…Model 0+100", "1 body…layers 0+60", "1 head…head 60+40", "2 0…0 0+40", "2 1…1 40+20", "2 weight…weight 60+40",
    "3 weight…weight 0+40", "3 weight…weight 40+20",
  ]);
});

test("the pieces of a level lie beside each other within the piece above", () => {
  const rows: Row[] = [[0, "Model", {}]];
  let seed = 7;
  const random = (): number => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let depth = 1, row = 0; row < 3_000; row++) {
    depth = Math.max(1, Math.min(9, depth + Math.floor(random() * 3) - 1));
    const before = rows.at(-1)!;
    depth = before[2]?.kind === PARAMETER ? Math.min(depth, before[0]) : Math.min(depth, before[0] + 1);
    rows.push(random() < 0.6 ? tensor(Math.max(1, depth), "w", Math.floor(random() * 1000)) : [Math.max(1, depth), "m", {}]);
  }
  const tree = byModule(new TreeModel(tableOf(rows)));
  for (const width of [37, 400, 1200]) {
    const pieces = layOut(tree, 0, width, 12);
    assert.ok(pieces.count < (width / 3 + 2) * 2 * 12);
    const ends = new Map<number, number>();
    for (let at = 0; at < pieces.count; at++) {
      const level = pieces.level[at];
      assert.ok(pieces.x[at] >= (ends.get(level) ?? 0) - 1e-6, "in order, none over another");
      assert.ok(pieces.x[at] + pieces.width[at] <= width + 1e-6);
      ends.set(level, pieces.x[at] + pieces.width[at]);
      if (level) {
        const above = neighbour(pieces, at, "up");
        assert.ok(above >= 0);
        assert.ok(tree.size[pieces.node[above]] >= tree.size[pieces.summed[at] ? 0 : pieces.node[at]] || pieces.summed[at]);
      }
    }
  }
});

test("what is too narrow is summed up and counted", () => {
  const rows: Row[] = [[0, "Model", {}], tensor(1, "large", 1_000_000)];
  for (let index = 0; index < 500; index++) rows.push(tensor(1, `small${index}`, 1 + (index % 3)));
  const tree = byModule(new TreeModel(tableOf(rows)));
  const pieces = layOut(tree, 0, 500, 4);
  assert.equal(pieces.count, 2, "the small ones have less than half a pixel together");
  const close = layOut(byModule(new TreeModel(tableOf(rows.filter(([, label]) => label !== "large")))), 0, 500, 4);
  const counted = [...close.summed].slice(0, close.count).reduce((sum, count) => sum + count, 0);
  assert.equal(counted, 500);
  assert.ok(close.count > 100 && close.count < 200);
});

test("a place finds its piece, and a piece its neighbours", () => {
  const tree = byModule(new TreeModel(tableOf(ROWS)));
  const pieces = layOut(tree, 0, 100, 9);
  assert.equal(tree.label(pieces.node[pieceAt(pieces, 70, 1)]), "head");
  assert.equal(pieceAt(pieces, 70, 3), -1);
  const of = (row: number): number => pieceOf(tree, pieces, row);
  assert.equal(pieces.head[of(2)], 1, "the chain shows it");
  assert.equal(pieces.node[of(4)], 4);
  const label = (at: number): string => (at < 0 ? "" : tree.label(pieces.head[at]));
  assert.equal(label(neighbour(pieces, 0, "down")), "body");
  assert.equal(label(neighbour(pieces, of(2), "right")), "head");
  assert.equal(label(neighbour(pieces, of(8), "left")), "body");
  assert.equal(neighbour(pieces, of(8), "right"), -1);
  assert.equal(label(neighbour(pieces, of(5), "up")), "body");
  assert.equal(neighbour(pieces, 0, "up"), -1);
});

test("zoomed, a part has the whole width", () => {
  const tree = byModule(new TreeModel(tableOf(ROWS)));
  assert.deepEqual(shown(tree, layOut(tree, 1, 90, 9))[0], "0 body…layers 0+90");
});

test("by role: the same bytes, each tensor once, groups and places above", () => {
  const table = tableOf(ROWS);
  table.columns.role.set([3, 3], 5); // layers.1 belongs to an adapter
  const model = new TreeModel(table);
  const tree = byRole(model, (role) => `role ${role}`);
  const whole = byModule(model);
  assert.equal(tree.size[0], whole.size[0]);
  assert.deepEqual(shown(tree, layOut(tree, 0, 100, 9)).slice(0, 3), ["0 Model…Model 0+100", "1 role 0…role 0 0+80", "1 role 3…1 80+20"].map((text) => text.replace("role 3…1", "role 3…layers")));
  for (const row of model.tensors) assert.equal(tree.row(tree.node(row)), row);
  assert.equal(tree.node(1), -1);
});

test("an empty model has one piece and no error", () => {
  const tree = byModule(new TreeModel(tableOf([[0, "Model", {}]])));
  assert.equal(layOut(tree, 0, 100, 9).count, 1);
  assert.equal(layOut(byRole(new TreeModel(tableOf([[0, "Model", {}]])), String), 0, 100, 9).count, 1);
});

test("each tone has a sign or a pattern beside its colour", () => {
  const name = (...given: Parameters<typeof toneOf>): string => TONES[toneOf(...given)].name;
  assert.equal(name(false, 0, 5, false, 3), "added");
  assert.equal(name(false, 5, 0, false, 3), "removed");
  assert.equal(name(false, 5, 6, false, 0), "grown");
  assert.equal(name(false, 6, 5, false, 0), "shrunk");
  assert.equal(name(false, 5, 5, false, 0), "same");
  assert.equal(name(false, 5, 5, true, 0), "left");
  assert.equal(name(true, 5, 5, false, 4), "saved");
  const looks = TONES.filter((tone) => tone.single !== true).map(({ sign, pattern, name: own }) => sign + pattern + (own === "grown" || own === "shrunk" ? "strip" : ""));
  assert.equal(new Set(looks).size, looks.length);
});
