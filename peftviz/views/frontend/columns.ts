/** What stands in the cells of a row: in the tree, in the two panes, and in the tables of parameters. */

import { element, setText } from "./dom.ts";
import { ARROW, formatBytes, formatCount, formatDelta, formatPair, visible } from "./format.ts";
import type { GridColumn } from "./grid.ts";
import { KINDS, type Key, ROLES, STATUS, say, trainable, trainableSpoken } from "./messages.ts";
import type { TreeModel } from "./model.ts";
import { remark } from "./notes.ts";
import { classOf } from "./tensor_rows.ts";
import { LEFTOVER, MODULE, SAME } from "./tree.ts";
import type { ColumnName } from "./wire.ts";

type Side = "before" | "after";

/** One row of a grid, to be filled. */
export interface Cells {
  columns: readonly GridColumn[];
  row: HTMLElement;
  cells: readonly HTMLElement[];
}

/** A name, and what stands around it. */
export interface Name {
  name: string;
  twisty?: string;
  alike?: string;
  note?: string;
  /** The whole of it, where `name` is a part. */
  title?: string;
}

const ENDS = new Set(["elements", "before", "after", "memory", "difference", "bytes"]);

/** Columns by table, in order; those after the bar are shown when the reader asks for them. */
const TABLES = {
  tree: "name change type shape device trainable memory | dtype role adapter elements before difference",
  panes: "name_before type_before shape_before trainable_before bytes_before change name_after type_after shape_after trainable_after bytes_after | dtype_before device_before dtype_after device_after",
  parameters: "path change shape dtype device trainable elements memory | class role adapter before difference",
  memory: "path elements before after difference | change shape dtype device trainable class role adapter",
} as const;

const TITLES: Readonly<Record<string, Key>> = { name: "module", path: "parameter", before: "memoryBefore", after: "memoryAfter", bytes: "memory", class: "moduleClass" };

export function columnsFor(table: keyof typeof TABLES, single: boolean): GridColumn[] {
  const [shown, more] = TABLES[table].split(" | ").map((names) => names.split(" "));
  const column = (key: string, extra: boolean): GridColumn => {
    const [base, side] = key.split("_");
    const title = say(TITLES[base] ?? (base as Key));
    const sortable = table === "parameters" || table === "memory";
    return { key, title: side && base === "name" ? say(`side.${side as Side}`) : title, end: ENDS.has(base), sortable, width: "", extra };
  };
  return [...shown.map((key) => column(key, false)), ...more.map((key) => column(key, true))].filter(({ key }) => !single || !["before", "difference", "change"].includes(key));
}

/** What stands in a cell of the tree, to measure it; of names, which are in code type, the number of characters. */
export function treeText(model: TreeModel, key: string, place: number): string | number {
  const { shown } = model;
  if (shown.gaps[place]) return "";
  const at = shown.rows[place];
  if (!key.startsWith("name")) return cellText(model, key, at);
  const { name, alike = "", note = "" } = treeName(model, key, place);
  return name.length + (alike || note ? alike.length + note.length + 1 : 0) + 2 * (key === "name_before" ? shown.oldLevels[place] : shown.levels[place]) + 1.5;
}

/** Fills the cells of a row of the tree, or of a place that stands for rows that are left out. */
export function fillTreeRow(model: TreeModel, { columns, row, cells }: Cells, place: number): void {
  const { rows, levels, oldLevels, gaps } = model.shown;
  const at = rows[place];
  const gap = gaps[place];
  const status = model.at("status", at);
  row.className = gap ? "row gap" : `row ${STATUS[status][1]}`;
  row.ariaLevel = String(levels[place]);
  row.style.setProperty("--level", String(Math.min(levels[place] - 1, 24)));
  row.style.setProperty("--old-level", String(Math.min(oldLevels[place] - 1, 24)));
  row.ariaExpanded = gap ? "false" : model.hasChildren(at) ? String(model.isOpen(at)) : null;
  if (gap) {
    fillCells(columns, cells, (key) => (key.startsWith("name") ? { name: "", twisty: "⋯", note: say("unchanged", { count: gap }) } : ""));
    return;
  }
  columns.forEach(({ key }, index) => {
    const side = key.split("_")[1] as Side | undefined;
    cells[index].classList.toggle("none", side !== undefined && !model.on(side, at));
  });
  fillCells(
    columns, cells,
    (key) => (key.startsWith("name") ? treeName(model, key, place) : key === "change" ? badge(status) : cellText(model, key, at)),
    share(model, at),
  );
  spokenCells(model, columns, cells, at);
}

export function tensorText(model: TreeModel, key: string, at: number, level: number): string | number {
  return key === "path" ? model.path(at).length + 2 * level : cellText(model, key, at);
}

/** Fills the cells of a parameter or buffer; its level is 0 in a table without groups. */
export function fillTensor(model: TreeModel, { columns, row, cells }: Cells, at: number, level: number): void {
  const status = model.tensorStatus(at);
  row.className = `row ${STATUS[status][1]}`;
  row.ariaLevel = level ? String(level) : null;
  row.ariaExpanded = null;
  row.style.setProperty("--level", String(level));
  const path = model.path(at);
  const note = was(model, at) || remark(model.text("note", at));
  fillCells(columns, cells, (key) => (key === "path" ? { name: visible(path), note, title: visible(path, 1000) } : key === "change" ? badge(status) : cellText(model, key, at)), share(model, at));
  spokenCells(model, columns, cells, at);
}

/** Puts texts, names and badges into cells; the share of all memory is the length of the bar. */
export function fillCells(columns: readonly GridColumn[], cells: readonly HTMLElement[], content: (key: string) => string | Name | HTMLElement, part = 0): void {
  columns.forEach(({ key }, index) => {
    const cell = cells[index];
    const value = cell.classList.contains("none") ? "" : content(key);
    cell.ariaLabel = null;
    if (typeof value === "string") {
      if (key === "memory" || key === "after") fillMemory(cell, value, part);
      else setText(cell, value);
      cell.title = value;
    } else if (value instanceof Node) cell.replaceChildren(value);
    else fillName(cell, value, key === "path");
  });
}

/** The pill with symbol and word of a status. */
export function badge(status: number): HTMLElement {
  const [symbol, name] = STATUS[status];
  return element("span", { class: `pill ${name}` }, element("span", { "aria-hidden": "true" }, `${symbol} `), say(`status.${name}`));
}

/** `module`, `parameter` or `buffer`. */
export function kindOf(model: TreeModel, at: number): string {
  return say(`kind.${KINDS[model.at("kind", at)]}`);
}

/** A value before and after, empty where the row is not there on that side. */
export function sides(model: TreeModel, key: string, at: number): [before: string, after: string] {
  const one = (side: Side): string => {
    const text = sideText(model, key, side, at);
    return key === "trainable" ? text.replace("✓", say("trainable.yes")) : text;
  };
  return [one("before"), one("after")];
}

/** Bytes after, and those before where they differ. */
export function amount(before: number, after: number): string {
  if (before === after) return after ? formatBytes(after) : "";
  return before ? `${formatBytes(before)} ${ARROW} ${after ? formatBytes(after) : "0"}` : `+${formatBytes(after)}`;
}

function treeName(model: TreeModel, key: string, place: number): Name {
  const { rows, heads } = model.shown;
  const at = rows[place];
  const twisty = model.hasChildren(at) ? (model.isOpen(at) ? "▾" : "▸") : "";
  const own = model.text("label", at);
  const folded = model.folding ? model.runOf[at] : 0;
  const old = key === "name_before";
  let name = old ? model.oldName(at, heads[place]) : at === 0 ? own : model.pathFrom(at, Math.max(0, model.parent[heads[place]]));
  if (folded) name = name.slice(0, name.length - own.length).replace(/\.$/, ""); // `layers.0` stands for all of `layers 0–31: 32 alike`
  return {
    name: visible(name), twisty,
    alike: folded ? say("alike", { range: `${own}–${Number(own) + folded - 1}`, count: folded }) : "",
    note: key === "name" ? was(model, at) || remark(model.text("note", at)) : "",
    title: visible(old ? model.oldPath(at) : model.path(at), 1000) || undefined,
  };
}

/** Says the old path of a row that has another one now. */
function was(model: TreeModel, at: number): string {
  return model.at("was", at) ? say("was", { path: visible(model.text("was", at)) }) : "";
}

/** The name in two pieces: what has to give way is the front, since the end of a path tells more. */
function fillName(cell: HTMLElement, { name, twisty, alike, note, title = name }: Name, path: boolean): void {
  const parts: Node[] = [];
  if (twisty !== undefined) parts.push(element("span", { class: "twisty", "aria-hidden": "true" }, twisty));
  const last = alike ? -1 : name.lastIndexOf(".");
  const cut = path ? name.lastIndexOf(".", last - 1) : last;
  if (cut > 0) parts.push(element("code", { class: cut > 5 ? "front long" : "front", title }, element("bdi", {}, name.slice(0, cut))));
  if (name) parts.push(element("code", { title }, cut > 0 ? name.slice(cut) : name));
  if (alike) parts.push(element("em", { title: alike }, alike));
  if (note) parts.push(element("span", { class: "note", title: note }, note));
  cell.replaceChildren(...parts);
  cell.ariaLabel = [path ? title : name, alike, note].filter(Boolean).join(" ");
}

function fillMemory(cell: HTMLElement, text: string, part: number): void {
  let shown = cell.firstElementChild as HTMLElement | null;
  if (!shown) {
    shown = element("span", { class: "amount" });
    cell.append(shown, element("span", { class: "bar", "aria-hidden": "true" }, element("span")));
  }
  setText(shown, text);
  (cell.lastElementChild!.firstElementChild as HTMLElement).style.width = part > 0 ? `${Math.max(3, part * 100)}%` : "0";
}

function share(model: TreeModel, at: number): number {
  return model.at("bytes_after", at) / (Math.max(model.at("bytes_before", 0), model.at("bytes_after", 0)) || 1);
}

function cellText(model: TreeModel, key: string, at: number): string {
  const [base, side] = key.split("_");
  if (side) return sideText(model, base, side as Side, at);
  if (key === "change") return "";
  if (key === "memory") return model.at("status", at) === SAME && model.at("bytes_after", at) ? formatBytes(model.at("bytes_after", at)) : amount(model.at("bytes_before", at), model.at("bytes_after", at));
  if (key === "after") return model.at("bytes_after", at) ? formatBytes(model.at("bytes_after", at)) : "";
  if (key === "before") return model.at("bytes_before", at) ? formatBytes(model.at("bytes_before", at)) : "";
  if (key === "difference") return formatDelta(model.at("bytes_before", at), model.at("bytes_after", at), true);
  if (key === "role") return say(`role.${ROLES[model.at("role", at)]}`);
  if (key === "adapter") return visible(model.text("adapter", at), 40);
  if (key === "class") return visible(model.table.strings[classOf(model, at)]);
  if (key === "trainable" && model.at("status", at) >= LEFTOVER && model.at("trainable_after", at) === 2) return say("trainable.still");
  if (key !== "type") return both(model, key, at);
  const dtype = model.holdsOnlyTensors(at) ? both(model, "dtype", at) : ""; // of a tree of modules it says little
  return [both(model, "type", at), dtype].filter(Boolean).join(" · ");
}

/** A value on both sides: one text where they are alike or where the row is on one side only. */
function both(model: TreeModel, key: string, at: number): string {
  const old = sideText(model, key, "before", at);
  const now = sideText(model, key, "after", at);
  return model.on("before", at) && model.on("after", at) ? formatPair(old, now) : model.on("after", at) ? now : old;
}

function sideText(model: TreeModel, key: string, side: Side, at: number): string {
  if (!model.on(side, at)) return "";
  if (key === "trainable") return trainable(model.at(`trainable_${side}`, at));
  if (key === "bytes" || key === "memory") return formatBytes(model.at(`bytes_${side}`, at));
  if (key === "elements") return formatCount(model.at(`numel_${side}`, at));
  const row = key === "shape" && model.at("kind", at) === MODULE ? model.onlyTensor(at) : at;
  return row < 0 ? "" : visible(model.text(`${key}_${side}` as ColumnName, row));
}

/** Says in words what cells show by a tick. */
function spokenCells(model: TreeModel, columns: readonly GridColumn[], cells: readonly HTMLElement[], at: number): void {
  columns.forEach(({ key }, index) => {
    if (!key.startsWith("trainable")) return;
    const text = cells[index].title;
    const code = model.at(key.endsWith("before") ? "trainable_before" : "trainable_after", at);
    cells[index].ariaLabel = text.includes(ARROW) ? text.replaceAll("✓", say("trainable.yes")) : trainableSpoken(code) || text || say("noParameters");
  });
}
