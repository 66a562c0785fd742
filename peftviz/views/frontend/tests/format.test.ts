import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { formatBytes, formatCount, formatDelta, visible } from "../format.ts";

const place = join(process.cwd(), "../../../tests/views/format_cases.json");
assert.ok(existsSync(place), "the cases are shared with the Python tests");
const cases = JSON.parse(readFileSync(place, "utf8"));

test("numbers and names are written as Python writes them", () => {
  for (const [value, text] of cases.bytes) assert.equal(formatBytes(value), text);
  for (const [value, text] of cases.count) assert.equal(formatCount(value), text);
  for (const [before, after, text] of cases.delta) assert.equal(formatDelta(before, after, false), text);
  for (const [name, text] of cases.visible) assert.equal(visible(name), text);
  for (const [length, most] of cases.long) assert.equal(visible("x".repeat(length)).length, most);
});
