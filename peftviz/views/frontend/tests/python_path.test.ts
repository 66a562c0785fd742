import assert from "node:assert/strict";
import test from "node:test";
import { TreeModel } from "../model.ts";
import { pythonPath, pythonString } from "../python_path.ts";
import { tableOf } from "./table.ts";

const MODEL = new TreeModel(
  tableOf([
    [0, "Model"],
    [1, "layers", { type: "ModuleList" }],
    [2, "0", {}],
    [2, "1", { type: "Sequential" }],
    [3, "1", {}],
    [3, "0", {}],
    [1, "head", { type: "ModuleDict" }],
    [2, "my adapter", {}],
    [3, "weight", { kind: 1 }],
    [1, "class", {}],
    [1, "7", {}],
    [1, "naïve", {}],
  ]),
);
const python = (path: string): string => pythonPath(MODEL, MODEL.rowAt(path));

test("attributes, indices and keys", () => {
  assert.equal(python(""), "model");
  assert.equal(python("layers.1"), "model.layers[1]");
  assert.equal(python("head.my adapter.weight"), 'model.head["my adapter"].weight');
});

test("a number that is no index, a keyword, a name beyond ASCII", () => {
  assert.equal(python("layers.1.1"), 'getattr(model.layers[1], "1")', "a Sequential counts places, not names");
  assert.equal(python("7"), 'getattr(model, "7")');
  assert.equal(python("class"), 'getattr(model, "class")');
  assert.equal(python("naïve"), 'getattr(model, "na\\xefve")');
});

test("string literals of Python", () => {
  assert.equal(pythonString('a"b\\c\n'), '"a\\"b\\\\c\\x0a"');
  assert.equal(pythonString("\u202e\u{1f600}\ud800"), '"\\u202e\\U0001f600\\ud800"');
});
