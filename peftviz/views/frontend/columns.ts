/** What stands in the cells of a row, for the tree and for the flat table of parameters. */

import { element, setText } from "./dom.ts";
import { ARROW, formatBytes, formatCount, formatPair, visible } from "./format.ts";
import type { GridColumn } from "./grid.ts";
import { KINDS, STATUS, say, trainable, trainableSpoken } from "./messages.ts";
import { LEFTOVER, MODULE, SAME, type TreeModel } from "./model.ts";
import type { ColumnName } from "./wire.ts";

const column = (key: string, title: string, end = false, sortable = false): GridColumn => ({ key, title, end, sortable, width: "" });

/** Columns of the tree, of the tree with each side in columns of its own, and of the flat table of parameters. */
export function columnsFor(kind: "tree" | "split" | "parameters"): readonly GridColumn[] {
  if (kind === "parameters") {
    return [
      column("path", say("parameter"), false, true), column("change", say("change"), false, true), column("shape", say("shape"), false, true),
      column("dtype", say("dtype"), false, true), column("device", say("device")), column("trainable", say("trainable"), false, true),
      column("elements", say("elements"), true, true), column("memory", say("memory"), true, true),
    ];
  }
  const front = [column("name", say("module")), column("change", say("change"))];
  if (kind === "split") {
    const twice = (["before", "after"] as const).flatMap((when) =>
      (["type", "shape", "dtype", "device", "trainable", "bytes"] as const).map((key) =>
        column(`${key}_${when}`, `${say(key === "bytes" ? "memory" : key)} ${say(when)}`, key === "bytes")));
    return [...front, ...twice];
  }
  return [
    ...front, column("type", say("type")), column("shape", say("shape")), column("device", say("device")),
    column("trainable", say("trainable")), column("memory", say("memory"), true),
  ];
}

/** What stands in a cell, to measure it; of names, which are in code type, the number of characters. */
export function cellText(model: TreeModel, key: string, at: number, head: number, level: number): string | number {
  if (key === "memory") return amount(model, at, 1);
  if (key === "change") return "";
  if (key !== "name" && key !== "path") return value(model, key, at);
  const { text, alike, note } = nameTexts(model, at, head, level);
  return text.length + (alike || note ? alike.length + note.length + 1 : 0) + (level > 0 ? 2 * level + 1.5 : 0);
}

/** Fills the cells of one row; `head` is the top of the chain shown as one row, or -1 for the full path. */
export function fillRow(
  model: TreeModel, columns: readonly GridColumn[], row: HTMLElement, cells: readonly HTMLElement[], at: number, head: number, level: number,
): void {
  const status = level > 0 ? model.table.columns.status[at] : model.tensorStatus(at);
  row.className = `row ${STATUS[status][1]}`;
  if (level > 0) {
    row.ariaLevel = String(level);
    row.style.setProperty("--level", String(Math.min(level - 1, 24)));
    row.ariaExpanded = model.hasChildren(at) ? String(model.isOpen(at)) : null;
  }
  columns.forEach(({ key }, index) => {
    const cell = cells[index];
    if (key === "name" || key === "path") name(model, cell, at, head, level);
    else if (key === "change") cell.replaceChildren(badge(status));
    else if (key === "memory") memory(model, cell, at, status);
    else {
      const text = value(model, key, at);
      setText(cell, text);
      cell.title = text;
      if (key.startsWith("trainable")) cell.ariaLabel = spoken(model, key, at, text);
    }
  });
}

/** The pill with symbol and word of a status. */
export function badge(status: number): HTMLElement {
  const [symbol, name] = STATUS[status];
  return element("span", { class: `pill ${name}` }, element("span", { "aria-hidden": "true" }, `${symbol} `), say(`status.${name}`));
}

function nameTexts(model: TreeModel, at: number, head: number, level: number): { text: string; alike: string; note: string } {
  const { columns, strings } = model.table;
  const own = strings[columns.label[at]];
  const above = head >= 0 && head !== at ? model.parent[head] : model.parent[at];
  let text = head < 0 ? model.path(at) : at === 0 ? own : model.pathFrom(at, Math.max(0, above));
  const folded = model.folding && level > 0 ? model.runOf[at] : 0;
  if (folded) text = text.slice(0, text.length - own.length).replace(/\.$/, ""); // `layers.0` stands for all of `layers 0–31: 32 alike`
  const note = columns.was[at] ? say("was", { path: visible(strings[columns.was[at]]) }) : visible(strings[columns.note[at]]);
  return { text: visible(text), alike: folded ? say("alike", { range: `${own}–${Number(own) + folded - 1}`, count: folded }) : "", note };
}

/** The name in two pieces: what has to give way is the front, since the end of a path tells more. */
function name(model: TreeModel, cell: HTMLElement, at: number, head: number, level: number): void {
  const { text, alike, note } = nameTexts(model, at, head, level);
  const title = visible(model.path(at), 1000) || text;
  const parts: Node[] = [];
  if (level > 0) parts.push(element("span", { class: "twisty", "aria-hidden": "true" }, model.hasChildren(at) ? (model.isOpen(at) ? "▾" : "▸") : ""));
  const last = alike ? -1 : text.lastIndexOf(".");
  const cut = head < 0 ? text.lastIndexOf(".", last - 1) : last;
  if (cut > 0) parts.push(element("code", { class: "front", title }, element("bdi", {}, text.slice(0, cut))));
  parts.push(element("code", { title }, cut > 0 ? text.slice(cut) : text));
  if (alike) parts.push(element("em", { title: alike }, alike));
  if (note) parts.push(element("span", { class: "note", title: note }, note));
  cell.replaceChildren(...parts);
  cell.ariaLabel = [head < 0 ? title : text, alike, note].filter(Boolean).join(" ");
}

function memory(model: TreeModel, cell: HTMLElement, at: number, status: number): void {
  const { bytes_before: before, bytes_after: after } = model.table.columns;
  const total = Math.max(before[0] ?? 0, after[0] ?? 0) || 1;
  let text = cell.firstElementChild as HTMLElement | null;
  if (!text) {
    text = element("span", { class: "amount" });
    cell.append(text, element("span", { class: "bar", "aria-hidden": "true" }, element("span")));
  }
  setText(text, amount(model, at, status));
  const share = Math.max(after[at], 0) / total;
  (cell.lastElementChild!.firstElementChild as HTMLElement).style.width = share > 0 ? `${Math.max(3, share * 100)}%` : "0";
  cell.title = `${formatBytes(before[at])} ${ARROW} ${formatBytes(after[at])}`;
}

function amount({ table: { columns } }: TreeModel, at: number, status: number): string {
  const before = columns.bytes_before[at];
  const after = columns.bytes_after[at];
  const now = formatBytes(after);
  if (before === after || status === SAME) return after ? now : "";
  return before ? `${formatBytes(before)} ${ARROW} ${after ? now : "0"}` : `+${now}`;
}

function value(model: TreeModel, key: string, at: number): string {
  const { columns } = model.table;
  const cut = key.lastIndexOf("_");
  if (cut > 0) return side1(model, key.slice(0, cut), key.slice(cut + 1), at);
  if (key === "elements") return formatPair(formatCount(columns.numel_before[at]), formatCount(columns.numel_after[at]));
  if (key === "trainable" && columns.status[at] === LEFTOVER && columns.trainable_after[at] === 2) return say("trainable.still");
  if (key !== "type") return both(model, key, at);
  const dtype = model.holdsOnlyTensors(at) ? both(model, "dtype", at) : ""; // of a tree of modules it says little
  return [both(model, "type", at), dtype].filter(Boolean).join(" · ");
}

/** A value on both sides: one text where they are alike or where the row is on one side only. */
export function both(model: TreeModel, key: string, at: number): string {
  const exists = model.table.columns.exists[at];
  const old = exists & 1 ? side1(model, key, "before", at) : "";
  const now = exists & 2 ? side1(model, key, "after", at) : "";
  return exists === 3 ? (old === now ? now : formatPair(old, now)) : exists & 2 ? now : old;
}

/** A value before and after, empty where the row is not there on that side. */
export function sides(model: TreeModel, key: string, at: number): [before: string, after: string] {
  const one = (when: "before" | "after"): string => {
    const { columns } = model.table;
    if (key === "elements") return columns.exists[at] & (when === "before" ? 1 : 2) ? formatCount(columns[`numel_${when}`][at]) : "";
    const text = side1(model, key === "memory" ? "bytes" : key, when, at);
    return key === "trainable" ? text.replace("✓", say("trainable.yes")) : text;
  };
  return [one("before"), one("after")];
}

function side1(model: TreeModel, key: string, when: string, at: number): string {
  const { columns, strings } = model.table;
  if (!(columns.exists[at] & (when === "before" ? 1 : 2))) return "";
  if (key === "trainable") return trainable(columns[`trainable_${when}` as ColumnName][at]);
  if (key === "bytes") return formatBytes(columns[`bytes_${when}` as ColumnName][at]);
  const row = key === "shape" && columns.kind[at] === MODULE ? model.onlyTensor(at) : at;
  return row < 0 ? "" : visible(strings[columns[`${key}_${when}` as ColumnName][row]]);
}

function spoken(model: TreeModel, key: string, at: number, text: string): string {
  const code = model.table.columns[key.endsWith("before") ? "trainable_before" : "trainable_after"][at];
  return text.includes(ARROW) ? text.replaceAll("✓", say("trainable.yes")) : trainableSpoken(code) || text || say("noParameters");
}

/** `module`, `parameter` or `buffer`. */
export function kindOf(model: TreeModel, at: number): string {
  return say(`kind.${KINDS[model.table.columns.kind[at]]}`);
}
