/** What stands in the cells of a row, for the tree and for the flat table of parameters. */

import { element, setText } from "./dom.ts";
import { ARROW, formatBytes, formatCount, formatPair, visible } from "./format.ts";
import type { GridColumn } from "./grid.ts";
import { KIND, STATUS, TRAINABLE, TRAINABLE_SPOKEN, say } from "./messages.ts";
import { LEFTOVER, MODULE, SAME, type TreeModel } from "./model.ts";
import type { ColumnName } from "./wire.ts";

const names = say.columns;

export const MERGED: readonly GridColumn[] = [
  { key: "name", title: names.module, width: "minmax(206px, 3fr)" },
  { key: "change", title: names.change, width: "104px" },
  { key: "type", title: names.type, width: "minmax(116px, 1.4fr)" },
  { key: "shape", title: names.shape, width: "minmax(84px, 0.9fr)" },
  { key: "device", title: names.device, width: "minmax(68px, 0.3fr)" },
  { key: "trainable", title: names.trainable, width: "minmax(78px, 0.8fr)" },
  { key: "memory", title: names.memory, width: "minmax(206px, 1fr)", end: true },
];

const SIDES = ["type", "shape", "dtype", "device", "trainable", "bytes"] as const;
const side = (when: "before" | "after"): GridColumn[] =>
  SIDES.map((key) => ({
    key: `${key}_${when}`,
    title: `${names[key === "bytes" ? "memory" : key]} ${names[when]}`,
    width: key === "type" ? "minmax(120px, 1fr)" : key === "shape" ? "minmax(110px, 0.8fr)" : "minmax(96px, 0.5fr)",
    end: key === "bytes",
  }));

export const SPLIT: readonly GridColumn[] = [MERGED[0], MERGED[1], ...side("before"), ...side("after")];

export const PARAMETERS: readonly GridColumn[] = [
  { key: "path", title: names.path, width: "minmax(220px, 3fr)", sortable: true },
  { key: "change", title: names.change, width: "104px", sortable: true },
  { key: "shape", title: names.shape, width: "minmax(90px, 0.9fr)", sortable: true },
  { key: "dtype", title: names.dtype, width: "minmax(64px, 0.5fr)", sortable: true },
  { key: "device", title: names.device, width: "minmax(68px, 0.3fr)" },
  { key: "trainable", title: names.trainable, width: "minmax(74px, 0.7fr)", sortable: true },
  { key: "elements", title: names.elements, width: "minmax(76px, 0.6fr)", end: true, sortable: true },
  { key: "memory", title: names.memory, width: "minmax(212px, 1fr)", end: true, sortable: true },
];

/** Leaves out what a narrow view has no room for; the details panel says it. */
export function fitting(columns: readonly GridColumn[], size: string): readonly GridColumn[] {
  const dropped = size === "tiny" ? ["device", "shape", "trainable", "elements"] : size === "wide" ? [] : ["device"];
  const narrow = (column: GridColumn): GridColumn =>
    column.key === "memory" && size !== "wide" ? { ...column, width: "minmax(150px, 0.9fr)" } : column; // without its bar
  return columns.filter(({ key }) => !dropped.includes(key)).map(narrow);
}

/** Fills the cells of one row; `head` is the top of the chain shown as one row, or -1 for the full path. */
export function fillRow(
  model: TreeModel, columns: readonly GridColumn[], row: HTMLElement, cells: readonly HTMLElement[], at: number, head: number, level: number,
): void {
  const status = level > 0 ? model.table.columns.status[at] : model.tensorStatus(at);
  row.className = `row ${STATUS[status][2]}`;
  if (level > 0) {
    row.setAttribute("aria-level", String(level));
    row.style.setProperty("--level", String(Math.min(level - 1, 24)));
    if (model.hasChildren(at)) row.setAttribute("aria-expanded", String(model.isOpen(at)));
    else row.removeAttribute("aria-expanded");
  }
  columns.forEach(({ key }, index) => {
    const cell = cells[index];
    if (key === "name" || key === "path") {
      cell.replaceChildren(...name(model, at, head, level));
      if (key === "path") cell.setAttribute("aria-label", visible(model.path(at), 1000)); // shown in two pieces
    }
    else if (key === "change") cell.replaceChildren(badge(status));
    else if (key === "memory") memory(model, cell, at, status);
    else {
      const text = value(model, key, at);
      setText(cell, text);
      cell.title = text;
      if (key.startsWith("trainable")) cell.setAttribute("aria-label", spoken(model, key, at, text));
    }
  });
}

/** The pill with symbol and word of a status. */
export function badge(status: number): HTMLElement {
  const [symbol, word, kind] = STATUS[status];
  return element("span", { class: `pill ${kind}` }, element("span", { "aria-hidden": "true" }, `${symbol} `), word);
}

function name(model: TreeModel, at: number, head: number, level: number): Node[] {
  const { columns, strings } = model.table;
  const parts: Node[] = [];
  if (level > 0) {
    const open = model.isOpen(at);
    parts.push(element("span", { class: "twisty", "aria-hidden": "true" }, model.hasChildren(at) ? (open ? "▾" : "▸") : ""));
  }
  const folded = model.folding ? model.runOf[at] : 0;
  const above = head >= 0 && head !== at ? model.parent[head] : model.parent[at];
  let text = head < 0 ? model.path(at) : at === 0 ? strings[columns.label[0]] : model.pathFrom(at, Math.max(0, above));
  if (folded && level > 0) {
    // `layers.0` that stands for all is shown as `layers 0–31: 32 alike`.
    const own = strings[columns.label[at]];
    text = text.slice(0, text.length - own.length).replace(/\.$/, "");
    if (text) parts.push(element("code", {}, visible(text), " "));
    parts.push(element("em", {}, say.alike(`${own}–${Number(own) + folded - 1}`, folded)));
  } else {
    const title = visible(model.path(at), 1000);
    const cut = head < 0 ? text.lastIndexOf(".", text.lastIndexOf(".") - 1) : 0;
    if (cut > 0) parts.push(element("code", { class: "front", title }, visible(text.slice(0, cut))));
    parts.push(element("code", { title }, visible(cut > 0 ? text.slice(cut) : text))); // the end of a path tells more
  }
  const note = columns.was[at] ? say.was(visible(strings[columns.was[at]])) : columns.note[at] ? visible(strings[columns.note[at]]) : "";
  if (note) parts.push(element("span", { class: "note", title: note }, note));
  return parts;
}

function memory(model: TreeModel, cell: HTMLElement, at: number, status: number): void {
  const { bytes_before: before, bytes_after: after } = model.table.columns;
  const total = Math.max(before[0] ?? 0, after[0] ?? 0) || 1;
  let text = cell.firstElementChild as HTMLElement | null;
  if (!text) {
    text = element("span", { class: "amount" });
    cell.append(text, element("span", { class: "bar", "aria-hidden": "true" }, element("span")));
  }
  const old = formatBytes(before[at]);
  const now = formatBytes(after[at]);
  const pair = before[at] ? `${old} ${ARROW} ${after[at] ? now : "0"}` : `+${now}`;
  setText(text, before[at] !== after[at] && status !== SAME ? pair : after[at] ? now : "");
  const share = Math.max(after[at], 0) / total;
  (cell.lastElementChild!.firstElementChild as HTMLElement).style.width = share > 0 ? `${Math.max(3, share * 100)}%` : "0";
  cell.title = `${old} ${ARROW} ${now}`;
}

function value(model: TreeModel, key: string, at: number): string {
  const { columns } = model.table;
  const cut = key.lastIndexOf("_");
  if (cut > 0) return side1(model, key.slice(0, cut), key.slice(cut + 1), at);
  if (key === "elements") return formatPair(formatCount(columns.numel_before[at]), formatCount(columns.numel_after[at]));
  if (key === "trainable" && columns.status[at] === LEFTOVER && columns.trainable_after[at] === 2) return "✓ still trainable";
  if (key !== "type") return both(model, key, at);
  const type = both(model, "type", at);
  const dtype = both(model, "dtype", at);
  return dtype ? `${type} · ${dtype}` : type;
}

/** A value on both sides: one text where they are alike or where the row is on one side only. */
export function both(model: TreeModel, key: string, at: number): string {
  const exists = model.table.columns.exists[at];
  const old = exists & 1 ? side1(model, key, "before", at) : "";
  const now = exists & 2 ? side1(model, key, "after", at) : "";
  return exists === 3 ? (old === now ? now : formatPair(old, now)) : exists & 2 ? now : old;
}

function side1(model: TreeModel, key: string, when: string, at: number): string {
  const { columns, strings } = model.table;
  if (!(columns.exists[at] & (when === "before" ? 1 : 2))) return "";
  if (key === "trainable") return TRAINABLE[columns[`trainable_${when}` as ColumnName][at]];
  if (key === "bytes") return formatBytes(columns[`bytes_${when}` as ColumnName][at]);
  const row = key === "shape" && columns.kind[at] === MODULE ? model.onlyTensor(at) : at;
  return row < 0 ? "" : visible(strings[columns[`${key}_${when}` as ColumnName][row]]);
}

function spoken(model: TreeModel, key: string, at: number, text: string): string {
  const code = model.table.columns[key.endsWith("before") ? "trainable_before" : "trainable_after"][at];
  return text.includes(ARROW) ? text.replaceAll("✓", "trainable") : TRAINABLE_SPOKEN[code] || text || "no parameters";
}

/** `module`, `parameter` or `buffer`, and its class. */
export function kindOf(model: TreeModel, at: number): string {
  const type = both(model, "type", at);
  const dtype = both(model, "dtype", at);
  return [KIND[model.table.columns.kind[at]], type, dtype].filter(Boolean).join(" · ");
}
