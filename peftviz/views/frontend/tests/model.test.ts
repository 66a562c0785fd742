import assert from "node:assert/strict";
import test from "node:test";
import { LEFTOVER, TreeModel } from "../model.ts";
import { type Row, tableOf } from "./table.ts";

const INSIDE = 2;
const REMOVED = 4;

const STORY: Row[] = [
  [0, "Model", { status: INSIDE }],
  [1, "layers", { status: INSIDE, type: "ModuleList" }],
  [2, "0", { status: INSIDE, run: 3 }],
  [3, "lora_A", { status: INSIDE, type: "ModuleDict" }],
  [4, "a", {}],
  [4, "b", { status: REMOVED }],
  [2, "1", { status: INSIDE }],
  [3, "lora_A", { status: INSIDE, type: "ModuleDict" }],
  [4, "a", {}],
  [4, "b", { status: REMOVED }],
  [2, "2", { status: INSIDE }],
  [3, "lora_A", { status: INSIDE, type: "ModuleDict" }],
  [4, "a", {}],
  [4, "b", { status: REMOVED }],
  [1, "head", { status: INSIDE }],
  [2, "original", {}],
  [3, "weight", { kind: 1, shape: "9 × 9", bytes: 5 }],
  [2, "copy", { status: LEFTOVER }],
  [3, "weight", { kind: 1, shape: "8 × 8", bytes: 7 }],
];

const labels = (model: TreeModel): string[] =>
  [...model.shown.rows].map((row, place) => `${model.shown.levels[place]} ${model.pathFrom(row, Math.max(0, model.parent[model.shown.heads[place]]))}`);

test("only what changed is open, runs are one row, chains are merged", () => {
  const model = new TreeModel(tableOf(STORY));
  assert.equal(model.onlyChanges, true);
  assert.deepEqual(labels(model), ["1 ", "2 layers.0", "3 lora_A.b", "2 head.copy"]);
  assert.equal(model.runOf[2], 3);
});

test("without folding each row stands for itself", () => {
  const model = new TreeModel(tableOf(STORY));
  model.setFold(false);
  model.setOnlyChanges(false);
  for (let row = 0; row < model.rows; row++) if (model.hasChildren(row) && !model.isOpen(row)) model.setOpen(row, true);
  assert.equal(model.shown.count, STORY.length);
  assert.deepEqual([...model.shown.levels], STORY.map(([depth]) => depth + 1));
});

test("a filter shows hits and the way to them, and suspends folding", () => {
  const model = new TreeModel(tableOf(STORY));
  model.setOnlyChanges(false);
  model.setFilter("9 weight");
  assert.deepEqual([...model.shown.rows].map((row) => model.path(row)).slice(-1), ["head.original.weight"]);
  model.setFilter("LAYERS.2.lora_a.b");
  assert.ok([...model.shown.rows].some((row) => model.path(row) === "layers.2.lora_A.b"));
  assert.ok(![...model.shown.rows].some((row) => model.path(row).startsWith("layers.1")));
  model.setFilter("nothing like it");
  assert.equal(model.shown.count, 0);
});

test("revealing a row removes whatever hides it", () => {
  const model = new TreeModel(tableOf(STORY));
  const folded = model.reveal(13);
  assert.equal(model.shown.rows[folded], 13);
  assert.equal(model.fold, false);
  const unchanged = model.reveal(16);
  assert.equal(model.shown.rows[unchanged], 16);
  assert.equal(model.onlyChanges, false);
});

test("previous and next change skip unchanged rows and folded ones", () => {
  const model = new TreeModel(tableOf(STORY));
  assert.equal(model.changeFrom(0, 1), 5);
  assert.equal(model.changeFrom(5, 1), 17);
  assert.equal(model.changeFrom(17, -1), 5);
  assert.equal(model.changeFrom(17, 1), -1);
});

test("parameters are listed flat and sorted", () => {
  const model = new TreeModel(tableOf(STORY));
  assert.deepEqual([...model.tensorRows()], [18], "what a leftover holds is left over");
  model.setOnlyChanges(false);
  assert.deepEqual([...model.tensorRows()], [16, 18]);
  model.sortKey = "bytes";
  model.sortDown = true;
  assert.deepEqual([...model.tensorRows()], [18, 16]);
});

test("a single state opens its first levels", () => {
  const plain: Row[] = STORY.map(([depth, label, options]) => [depth, label, { ...options, status: 0 }]);
  const model = new TreeModel(tableOf(plain, true));
  assert.equal(model.onlyChanges, false);
  assert.ok(model.shown.count > 2);
});

test("a hundred thousand rows are opened without recursion", () => {
  const rows: Row[] = [[0, "Model"]];
  for (let index = 0; index < 50_000; index++) rows.push([1, String(index), { status: 1 }], [2, "weight", { kind: 1, status: 1 }]);
  const model = new TreeModel(tableOf(rows));
  model.openAll(0);
  assert.equal(model.shown.count, 100_001);
  assert.equal(model.placeOf(100_000), 100_000);
});
