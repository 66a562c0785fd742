/** The panel of one row: what it is, what is the matter, what to do about it. */

import { adaptersHere } from "./adapters_here.ts";
import { badge, kindOf, sides } from "./columns.ts";
import { button, element } from "./dom.ts";
import { visible } from "./format.ts";
import type { StepEntry } from "./kernel.ts";
import { ROLES, inWords, known, say, severity } from "./messages.ts";
import type { TreeModel } from "./model.ts";
import { LEFTOVER } from "./tree.ts";
import { remark } from "./notes.ts";
import { pythonPath } from "./python_path.ts";
import { briefly, named } from "./values.ts";
import type { Finding } from "./wire.ts";

const MAX_LISTED = 60;
const SIDES = ["type", "shape", "dtype", "device", "trainable", "elements", "memory"] as const;
/** Evidence that names steps; it is told first. */
const STEPS = new Set(["came_with", "since", "steps"]);
/** How long a button says that the text was copied, in milliseconds. */
const COPIED = 1600;

/** What the buttons of the panel do; a missing one has no button. */
export interface Deeds {
  remove?(adapter: string): void;
  repair?(): void;
  /** All rows that are selected; the panel is about one of them. */
  readonly chosen: readonly number[];
  select(row: number): void;
  /** Shows the state after a step. */
  jump(step: number): void;
}

export function detailsOf(model: TreeModel, row: number, steps: readonly StepEntry[], deeds: Deeds): Node[] {
  const about = model.table.findings.filter((finding) => finding.row === row || finding.rows.includes(row));
  const nodes: Node[] = about.flatMap((finding) => findingNodes(finding, row, deeds));
  if (!about.length) nodes.push(element("h2", {}, say("details")));
  if (deeds.chosen.length > 1) nodes.unshift(element("p", { class: "several", role: "status" }, say("selected", { count: deeds.chosen.length })));
  // What can be done stands right below what is the matter.
  if (about.length) nodes.push(buttons(model, row, about, deeds), facts(model, row, about));
  else nodes.push(facts(model, row, about), buttons(model, row, about, deeds));
  for (const finding of about) nodes.push(...evidenceOf(finding, steps, deeds));
  nodes.push(...bothSides(model, row), ...changes(model, row));
  const adapters = adaptersHere(model, row);
  if (adapters) nodes.push(adapters);
  nodes.push(...extras(model, row, deeds));
  return nodes;
}

/** Puts a text into the clipboard, or, where that is not allowed, where it can be copied by hand. */
export async function copy(text: string, from: HTMLElement): Promise<void> {
  const label = from.textContent;
  try {
    await navigator.clipboard.writeText(text);
    from.textContent = `✓ ${say("copied")}`;
    setTimeout(() => (from.textContent = label), COPIED);
  } catch {
    from.replaceWith(element("code", { class: "bycopy" }, visible(text, 1000)));
  }
}

function findingNodes(finding: Finding, row: number, deeds: Deeds): Node[] {
  const [symbol, word] = severity(finding.severity);
  const nodes: Node[] = [
    element("h2", {}, [say("finding", { rule: finding.rule }), known(`rule.${finding.rule}`)].filter(Boolean).join(" · ")),
    element(
      "div", { class: `callout ${finding.severity}` },
      element("strong", {}, `${symbol} ${word}`), element("p", {}, visible(inWords(finding.message, finding.message_said), 1000)),
    ),
    element("h3", {}, say("remedy")), element("p", {}, visible(inWords(finding.remedy, finding.remedy_said), 1000)),
  ];
  const others = finding.rows.filter((other) => other !== row);
  if (others.length) {
    const next = others.find((other) => other > row) ?? others[0];
    nodes.push(element("p", {}, button(`${say("rowsConcerned", { count: finding.rows_total })} ↓`, "link", () => deeds.select(next))));
  }
  return nodes;
}

function evidenceOf(finding: Finding, steps: readonly StepEntry[], deeds: Deeds): Node[] {
  const told = Object.entries(finding.evidence).sort(([one], [other]) => Number(STEPS.has(other)) - Number(STEPS.has(one)));
  const entries = told.map(([key, value]): Entry => [
    known(`evidence.${key}`) || key.replaceAll("_", " "),
    STEPS.has(key) ? element("span", {}, ...[value].flat().map((item) => stepLink(item, steps, deeds))) : named(key, value),
  ]);
  if (finding.upstream?.length) entries.push([say("upstream"), element("span", {}, ...finding.upstream.map(upstreamLink))]);
  return entries.length ? [fold(`${say("evidence")} · ${finding.rule}`, list(entries), true)] : [];
}

function upstreamLink([name, address]: readonly [string, string]): HTMLElement {
  const link = element("a", { class: "upstream" }, `${visible(name)} `);
  if (address.startsWith("https://")) link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

/** A step that the evidence names: a way to it, where the timeline on show has it. */
function stepLink(item: unknown, steps: readonly StepEntry[], deeds: Deeds): Node {
  const { step, label } = (typeof item === "object" && item ? item : {}) as { step?: unknown; label?: unknown };
  const text = `${typeof step === "number" ? `${step} · ` : ""}${briefly(label ?? item, 80)} `;
  return typeof step === "number" && step > 0 && step < steps.length ? button(text, "link", () => deeds.jump(step)) : element("span", {}, text);
}

function facts(model: TreeModel, row: number, about: readonly Finding[]): HTMLElement {
  const { summary } = model.table;
  const adapter = model.text("adapter", row) || about.find((finding) => finding.adapter)?.adapter || "";
  const path = model.path(row);
  const entries: Entry[] = [
[say("path"), element("code", {}, visible(path, 1000) || say("model"))],
    [say("change"), badge(model.at("status", row))],
  ];
  if (model.at("was", row)) entries.push([say("oldPath"), element("code", {}, visible(model.text("was", row), 1000))]);
  entries.push([say("kind"), kindOf(model, row)]);
  entries.push([say("role"), say(`role.${ROLES[model.at("role", row)]}`)]);
  if (adapter) {
    entries.push([say("adapter"), visible(adapter)]);
    entries.push([say("inConfig"), summary.adapters[1].includes(adapter) ? say("yes") : say("noConfig", { adapter: visible(adapter) })]);
  }
  if (model.at("note", row)) entries.push([say("note"), remark(model.text("note", row))]);
  return list(entries);
}

/** Buttons that copy the path, and the line of Python that leads there; of several rows, a line each. */
function ways(model: TreeModel, row: number, chosen: readonly number[]): HTMLElement[] {
  const rows = chosen.length > 1 ? chosen : [row];
  const lines = (text: (row: number) => string): string => rows.map(text).join("\n");
  const path = button(say("copyPath"), "plain copy-path", () => void copy(lines((at) => model.path(at)), path));
  const line = button(say("copyPython"), "plain copy-python", () => void copy(lines((at) => pythonPath(model, at)), line));
  line.title = visible(pythonPath(model, row), 1000);
  for (const item of [path, line]) item.ariaLive = "polite";
  return [path, line];
}

function buttons(model: TreeModel, row: number, about: readonly Finding[], deeds: Deeds): HTMLElement {
  const { summary } = model.table;
  const bar = element("div", { class: "deeds" });
  const adapter = about.find((finding) => finding.adapter)?.adapter || model.text("adapter", row);
  const gone = adapter && !summary.adapters[1].includes(adapter);
  const red = about.some((finding) => finding.severity !== "info") || model.at("status", row) >= LEFTOVER;
  if (deeds.remove && adapter && (model.at("exists", row) & 2 || about.length)) {
    const remove = deeds.remove;
    bar.append(
      red && gone
        ? button(say("deleteCorrectly"), "danger", () => remove(adapter))
        : button(say("deleteAdapter", { adapter: visible(adapter, 24) }), "plain", () => remove(adapter)),
    );
  }
  if (deeds.repair && about.some((finding) => finding.repairable)) bar.append(button(say("repair"), gone ? "plain" : "danger", deeds.repair));
  bar.append(...ways(model, row, deeds.chosen));
  return bar;
}

/** All columns, before and after beside each other; of a single state one column. */
function bothSides(model: TreeModel, row: number): Node[] {
  const { single } = model.table.summary;
  const lines = SIDES.map((key) => [key, ...sides(model, key, row)] as const).filter(([, old, now]) => old || now);
  if (!lines.length) return [];
  const heads = single ? [] : [element("thead", {}, element("tr", {}, element("td", {}), ...(["before", "after"] as const).map((when) => element("th", { scope: "col" }, say(`side.${when}`)))))];
  return [
    element(
      "table", { class: "sides" }, ...heads,
      element(
        "tbody", {},
        ...lines.map(([key, old, now]) =>
          element(
            "tr", { class: old === now || single ? "" : "differs" }, element("th", { scope: "row" }, say(key)),
            ...(single ? [now] : [old, now]).map((text) => element("td", {}, text || "–")),
          ),
        ),
      ),
    ),
  ];
}

function changes(model: TreeModel, row: number): Node[] {
  const own = model.changesOf(row);
  if (!own.length) return [];
  return [
    element("h3", {}, say("changed")),
    list(own.slice(0, MAX_LISTED).map(([field, before, after]) => [field, `${briefly(before)} → ${briefly(after)}`])),
    ...(own.length > MAX_LISTED ? [element("p", {}, say("moreRows", { count: own.length - MAX_LISTED }))] : []),
  ];
}

function extras(model: TreeModel, row: number, deeds: Deeds): Node[] {
  const { summary } = model.table;
  const nodes: Node[] = [];
  const payload = model.payload(row);
  const adapter = model.text("adapter", row);
  if (payload?.shared_with) {
    const all = payload.sharers ?? payload.shared_with.length;
    const rest = all - payload.shared_with.length;
    const paths = payload.shared_with.map((path) => element("li", {}, place(model, path, deeds)));
    nodes.push(
      fold(say("shared"), element("div", {}, element("p", {}, say("storageGroup", { count: all + 1 })), element("ul", {}, ...paths, rest > 0 && element("li", {}, say("moreRows", { count: rest })))), true),
    );
  }
  if (payload?.state) nodes.push(fold(say("state"), list(Object.entries(payload.state).map(([key, value]) => [key, briefly(value)])), false));
  if (payload?.hooks) nodes.push(fold(say("hooks"), element("p", {}, briefly(payload.hooks)), false));
  const config = adapter ? summary.configs[adapter] : undefined;
  if (config) nodes.push(fold(say("config"), list(Object.entries(config).map(([key, value]) => [key, briefly(value)])), false));
  return nodes;
}

/** A path as a way to its row, where the table has it. */
function place(model: TreeModel, path: string, deeds: Deeds): HTMLElement {
  const row = model.rowAt(path);
  return row < 0 ? element("code", {}, visible(path, 400)) : button(visible(path, 400), "link code", () => deeds.select(row));
}

function fold(title: string, content: Node, open: boolean): HTMLElement {
  const made = element("details", {}, element("summary", {}, title), content);
  made.open = open;
  return made;
}

type Entry = readonly [string, string | Node];

function list(entries: readonly Entry[]): HTMLElement {
  return element("dl", {}, ...entries.flatMap(([key, value]) => [element("dt", {}, visible(key)), element("dd", {}, value)]));
}
