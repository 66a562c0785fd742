import assert from "node:assert/strict";
import test from "node:test";
import { TreeModel } from "../model.ts";
import { groupTensors, sortGroups, sortTensors, sums } from "../tensor_rows.ts";
import { LEFTOVER } from "../tree.ts";
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
  assert.deepEqual(labels(model), ["1 ", "2 layers.0", "3 lora_A.a", "3 lora_A.b", "2 head", "3 original", "3 copy"]);
  assert.equal(model.runOf[2], 3);
  model.setContext(0);
  assert.deepEqual(labels(model), ["1 ", "2 layers.0", "3 lora_A.a", "3 lora_A.b", "2 head.copy"], "a single row takes no more room than a place for it");
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
  model.setFilter("copy");
  const filtered = model.reveal(2);
  assert.equal(model.shown.rows[filtered], 2);
  assert.equal(model.filter, "");
});

test("previous and next change skip unchanged rows and folded ones", () => {
  const model = new TreeModel(tableOf(STORY));
  assert.equal(model.changeFrom(0, 1), 5);
  assert.equal(model.changeFrom(5, 1), 17);
  assert.equal(model.changeFrom(17, -1), 5);
  assert.equal(model.changeFrom(17, 1), -1);
});

const tensors = (model: TreeModel): Int32Array => model.tensors.filter((row) => model.passes(row));

test("parameters are filtered and sorted", () => {
  const model = new TreeModel(tableOf(STORY));
  assert.deepEqual([...tensors(model)], [18], "what a leftover holds is left over");
  model.setOnlyChanges(false);
  assert.deepEqual([...tensors(model)], [16, 18]);
  assert.deepEqual([...sortTensors(model, tensors(model), "memory", true)], [18, 16]);
  assert.deepEqual([...sortTensors(model, tensors(model), "path", false)], [18, 16], "copy before original");
  assert.deepEqual([...sortTensors(model, tensors(model), "shape", false)], [18, 16]);
});

test("groups add up to what they are of", () => {
  const rows: Row[] = [[0, "Model"], [1, "layers", { type: "ModuleList" }]];
  for (const layer of [0, 1, 10]) rows.push([2, String(layer)], [3, "a", { kind: 1, bytes: 4, shape: "4" }], [3, "b", { kind: 2, bytes: layer }]);
  rows.push([1, "head", { type: "Linear" }], [2, "weight", { kind: 1, bytes: 7 }]);
  const model = new TreeModel(tableOf(rows, true));
  const total = sums(model, model.tensors);
  assert.equal(total.after, 4 * 3 + 11 + 7);
  for (const by of ["role", "adapter", "dtype", "device", "layer", "class"] as const) {
    const groups = groupTensors(model, model.tensors, by);
    assert.equal(groups.reduce((sum, group) => sum + group.after, 0), total.after, by);
    assert.equal(groups.reduce((sum, group) => sum + group.rows.length, 0), model.tensors.length, by);
  }
  const layers = sortGroups(groupTensors(model, model.tensors, "layer"), "memory", true, () => "");
  assert.deepEqual(layers.map(({ code }) => model.path(code)), ["layers.10", "", "layers.1", "layers.0"]);
});

test("only changes: unchanged siblings beside a change, and places for those that are left out", () => {
  const rows: Row[] = [[0, "Model", { status: INSIDE }]];
  for (let index = 0; index < 9; index++) rows.push([1, `m${index}`, { status: index === 4 ? 1 : 0 }], [2, "weight", { kind: 1 }]);
  rows[0][2] = { status: 1 }; // a root that is a row of its own
  const model = new TreeModel(tableOf(rows));
  const shown = (): string[] => [...model.shown.rows].map((row, place) => (model.shown.gaps[place] ? `… ${model.shown.gaps[place]}` : model.path(row)));
  assert.deepEqual(shown(), ["", "… 3", "m3", "m4", "m5", "… 3"]);
  assert.equal(model.placeOf(1), -1, "a row that is left out has no place");
  model.setContext(0);
  assert.deepEqual(shown(), ["", "… 4", "m4", "… 4"]);
  model.setContext(3);
  assert.deepEqual(shown(), ["", "m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"], "one row takes no more room than its place");
  model.setContext(0);
  model.openGap(1);
  assert.deepEqual(shown(), ["", "m0", "m1", "m2", "m3", "m4", "… 4"]);
  model.setOpen(1, true);
  assert.deepEqual(shown().slice(0, 3), ["", "m0", "m0.weight"], "what was asked for shows all that it holds");
  const far = model.reveal(model.rowAt("m8.weight"));
  assert.equal(model.path(model.shown.rows[far]), "m8.weight");
  assert.equal(model.onlyChanges, true);
});

test("names before: a wrapper that came later does not count", () => {
  const model = new TreeModel(
    tableOf([
      [0, "Wrapped", { status: 3, exists: 2 }],
      [1, "base", { status: 5, was: "the model" }],
      [2, "layer", { status: 3, exists: 2 }],
      [3, "base_layer", { status: 5, was: "layer" }],
      [4, "weight", { kind: 1 }],
      [2, "head", {}],
    ]),
  );
  model.setOnlyChanges(false);
  model.setFold(false);
  model.openAll(0);
  const old = [...model.shown.rows].map((row, place) => (model.on("before", row) ? `${model.shown.oldLevels[place]} ${model.oldName(row, model.shown.heads[place])}` : ""));
  assert.deepEqual(old, ["", "1 Module", "", "2 layer", "3 weight", "2 head"]);
  assert.equal(model.oldPath(4), "layer.weight");
  assert.equal(model.rowAt("layer.weight"), 4, "an old path finds the row that was there");
  assert.equal(model.rowAt("base.layer"), 2);
  assert.equal(model.rowAt("layer.bias"), -1);
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
