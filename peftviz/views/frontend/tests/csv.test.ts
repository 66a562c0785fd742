import assert from "node:assert/strict";
import test from "node:test";
import { cell, toCsv } from "../csv.ts";
import { TreeModel } from "../model.ts";
import { type Row, tableOf } from "./table.ts";

/** Reads CSV as RFC 4180 has it. */
function parsed(text: string): string[][] {
  const rows: string[][] = [[]];
  for (let at = 0, value = "", quoted = false; at <= text.length; at++) {
    const character = text[at];
    if (quoted && character === '"' && text[at + 1] === '"') value += text[++at];
    else if (character === '"') quoted = !quoted;
    else if (!quoted && (character === "," || character === undefined)) {
      rows.at(-1)!.push(value);
      value = "";
    } else if (!quoted && character === "\r") {
      rows.at(-1)!.push(value);
      rows.push([]);
      value = "";
      at++;
    } else value += character;
  }
  return rows.filter((row) => row.some(Boolean));
}

const HOSTILE = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "|x", "%x", 'a","b\r\n=1+1,"', "a\nb", "\u202eabc", "\ud800", "plain", "a.b", "it's", ""];

test("no cell begins as a formula, and every cell reads back as what is visible", () => {
  for (const value of HOSTILE) {
    const [[read = ""] = [""]] = parsed(`${cell(value)}\r\n`);
    assert.doesNotMatch(read, /^[=+\-@\t\r|%]/, value);
    assert.doesNotMatch(cell(value), /[\r\n\u202e]/);
  }
  assert.equal(cell("plain"), "plain");
  assert.equal(cell("=1+1"), "\"'=1+1\"");
  assert.equal(cell('a"b'), '"a""b"');
});

test("one line a row, each with as many cells as the head", () => {
  const rows: Row[] = [[0, "Model", { bytes: 5 }], ...HOSTILE.map((name): Row => [1, name, {}]), [2, "weight", { kind: 1, bytes: 5, shape: "2 × 2" }]];
  const lines = parsed(toCsv(new TreeModel(tableOf(rows))).join(""));
  assert.equal(lines.length, rows.length + 1);
  for (const line of lines) assert.equal(line.length, lines[0].length);
  const [head, , first] = lines;
  assert.equal(first[head.indexOf("path")], "'=1+1");
  assert.equal(lines.at(-1)![head.indexOf("bytes_after")], "5");
  assert.equal(lines.at(-1)![head.indexOf("kind")], "parameter");
});
