/** The rows of a state as CSV: values as they are shown, and no cell that a spreadsheet would run. */

import { visible } from "./format.ts";
import { KINDS, ROLES, STATUS } from "./messages.ts";
import type { TreeModel } from "./model.ts";

/** A cell that begins with one of these may be a formula to a spreadsheet. */
const FORMULA = /^[=+\-@\t\r|%]/;
const MAX_CELL = 1_000;

const HEAD = [
  "path", "old_path", "kind", "status", "role", "adapter", "class_before", "class_after", "shape_before", "shape_after", "dtype_before", "dtype_after",
  "device_before", "device_after", "trainable_before", "trainable_after", "elements_before", "elements_after", "bytes_before", "bytes_after",
];
const TRAINABLE = ["", "frozen", "trainable", "partly"];

/** Every row of the table, in pieces that are put together by a `Blob`: a million rows are no one string. */
export function toCsv(model: TreeModel): string[] {
  const { columns, strings, rows } = model.table;
  const pieces: string[] = [];
  let lines = [HEAD.join(",")];
  const paths: string[] = [];
  for (let row = 0; row < rows; row++) {
    const depth = columns.depth[row];
    paths.length = depth;
    paths[depth] = strings[columns.label[row]];
    const text = (name: "type" | "shape" | "dtype" | "device", when: "before" | "after"): string => strings[columns[`${name}_${when}`][row]];
    const both = (name: "type" | "shape" | "dtype" | "device"): string[] => [cell(text(name, "before")), cell(text(name, "after"))];
    const exists = columns.exists[row];
    const counted = (name: "numel" | "bytes"): string[] => [
      exists & 1 ? String(columns[`${name}_before`][row]) : "", exists & 2 ? String(columns[`${name}_after`][row]) : "",
    ];
    lines.push(
      [
        cell(paths.slice(1).join(".")), cell(strings[columns.was[row]]), KINDS[columns.kind[row]], STATUS[columns.status[row]][1],
        ROLES[columns.role[row]] ?? "", cell(strings[columns.adapter[row]]), ...both("type"), ...both("shape"), ...both("dtype"), ...both("device"),
        TRAINABLE[columns.trainable_before[row]], TRAINABLE[columns.trainable_after[row]], ...counted("numel"), ...counted("bytes"),
      ].join(","),
    );
    if (lines.length >= 10_000) {
      pieces.push(`${lines.join("\r\n")}\r\n`);
      lines = [];
    }
  }
  if (lines.length) pieces.push(`${lines.join("\r\n")}\r\n`);
  return pieces;
}

/** One cell: hidden characters visible, quoted where it must be, with an apostrophe before what could be a formula. */
export function cell(value: string): string {
  const shown = visible(value, MAX_CELL);
  const harmless = FORMULA.test(shown) ? `'${shown}` : shown;
  return /[",'\s]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
