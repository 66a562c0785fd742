/** The panel of one row: what it is, what is the matter, what to do about it. */

import { both, kindOf } from "./columns.ts";
import { button, element } from "./dom.ts";
import { formatBytes, formatCount, formatPair, visible } from "./format.ts";
import { ROLES, say, severity } from "./messages.ts";
import { LEFTOVER, type TreeModel } from "./model.ts";
import type { Finding } from "./wire.ts";

const MAX_LISTED = 60;

/** What the buttons of the panel do; a missing one has no button. */
export interface Deeds {
  remove?(adapter: string): void;
  repair?(): void;
  select(row: number): void;
}

export function detailsOf(model: TreeModel, row: number, deeds: Deeds): Node[] {
  const about = model.table.findings.filter((finding) => finding.row === row || finding.rows.includes(row));
  const nodes: Node[] = [];
  for (const finding of about) nodes.push(...findingNodes(finding, row, deeds));
  if (!about.length) nodes.push(element("h2", {}, say("details")));
  // What can be done stands right below what is the matter.
  if (about.length) nodes.push(buttons(model, row, about, deeds), facts(model, row, about));
  else nodes.push(facts(model, row, about), buttons(model, row, about, deeds));
  for (const finding of about) nodes.push(...evidenceOf(finding));
  nodes.push(...changes(model, row), ...extras(model, row));
  return nodes;
}

function findingNodes(finding: Finding, row: number, deeds: Deeds): Node[] {
  const [symbol, word] = severity(finding.severity);
  const nodes: Node[] = [
    element("h2", {}, `${say("finding", { rule: finding.rule })}${finding.title ? ` · ${finding.title}` : ""}`),
    element(
      "div", { class: `callout ${finding.severity}` },
      element("strong", {}, `${symbol} ${word}`), element("p", {}, visible(finding.message, 1000)),
    ),
    element("h3", {}, say("remedy")), element("p", {}, visible(finding.remedy, 1000)),
  ];
  const others = finding.rows.filter((other) => other !== row);
  if (others.length) {
    const next = others.find((other) => other > row) ?? others[0];
    nodes.push(element("p", {}, button(`${say("rowsConcerned", { count: finding.rows_total })} ↓`, "link", () => deeds.select(next))));
  }
  return nodes;
}

function evidenceOf(finding: Finding): Node[] {
  const entries = Object.entries(finding.evidence).map(([key, value]) => [key.replaceAll("_", " "), short(value)] as const);
  return entries.length ? [fold(`${say("evidence")} · ${finding.rule}`, list(entries), true)] : [];
}

function facts(model: TreeModel, row: number, about: readonly Finding[]): HTMLElement {
  const { columns, strings, summary } = model.table;
  const exists = columns.exists[row];
  const pair = (old: string, now: string): string => (exists === 3 ? formatPair(old, now) : exists & 2 ? now : old);
  const adapter = strings[columns.adapter[row]] || about.find((finding) => finding.adapter)?.adapter || "";
  const entries: [string, string][] = [[say("path"), visible(model.path(row), 1000) || say("model")]];
  if (columns.was[row]) entries.push([say("oldPath"), visible(strings[columns.was[row]], 1000)]);
  entries.push([say("kind"), kindOf(model, row)]);
  for (const key of ["shape", "device", "trainable"] as const) {
    const text = both(model, key, row);
    if (text) entries.push([say(key), text.replaceAll("✓", say("yes"))]);
  }
  const bytes = pair(formatBytes(columns.bytes_before[row]), formatBytes(columns.bytes_after[row]));
  const numel = pair(formatCount(columns.numel_before[row]), formatCount(columns.numel_after[row]));
  entries.push([say("holds"), say("holdsParameters", { bytes, count: numel })]);
  entries.push([say("role"), say(`role.${ROLES[columns.role[row]]}`)]);
  if (adapter) {
    entries.push([say("adapter"), visible(adapter)]);
    entries.push([say("inConfig"), summary.adapters[1].includes(adapter) ? say("yes") : say("noConfig", { adapter: visible(adapter) })]);
  }
  if (columns.note[row]) entries.push([say("note"), visible(strings[columns.note[row]])]);
  const made = list(entries);
  made.children[1].append(" ", copyButton(model.path(row)));
  return made;
}

function copyButton(path: string): HTMLElement {
  const copy = button(say("copyPath"), "link", () => {
    void copyText(path, copy).then((done) => {
      if (done) copy.textContent = say("copied");
    });
  });
  return copy;
}

function buttons(model: TreeModel, row: number, about: readonly Finding[], deeds: Deeds): HTMLElement {
  const { columns, strings, summary } = model.table;
  const bar = element("div", { class: "deeds" });
  const named = about.find((finding) => finding.adapter)?.adapter || strings[columns.adapter[row]];
  const gone = named && !summary.adapters[1].includes(named);
  const red = about.some((finding) => finding.severity !== "info") || columns.status[row] >= LEFTOVER;
  if (deeds.remove && named && (columns.exists[row] & 2 || about.length)) {
    const remove = deeds.remove;
    bar.append(
      red && gone
        ? button(say("deleteCorrectly"), "danger", () => remove(named))
        : button(say("deleteAdapter", { adapter: visible(named, 24) }), "plain", () => remove(named)),
    );
  }
  if (deeds.repair && about.some((finding) => finding.repairable)) bar.append(button(say("repair"), gone ? "plain" : "danger", deeds.repair));
  return bar;
}

async function copyText(text: string, near: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard here: put the path where it can be copied by hand.
    near.replaceWith(element("code", { class: "bycopy" }, visible(text, 1000)));
    return false;
  }
}

function changes(model: TreeModel, row: number): Node[] {
  const own = model.table.changes.filter((change) => change[0] === row);
  if (!own.length) return [];
  return [
    element("h3", {}, say("changed")),
    list(own.slice(0, MAX_LISTED).map(([, field, before, after]) => [field, `${short(before)} → ${short(after)}`])),
    ...(own.length > MAX_LISTED ? [element("p", {}, say("moreRows", { count: own.length - MAX_LISTED }))] : []),
  ];
}

function extras(model: TreeModel, row: number): Node[] {
  const { details, columns, strings, summary } = model.table;
  const nodes: Node[] = [];
  const place = details.rows.indexOf(row);
  const payload = place >= 0 ? details.payloads[details.payload[place]] : undefined;
  const adapter = strings[columns.adapter[row]];
  if (payload?.shared_with) {
    const rest = (payload.sharers ?? 0) - payload.shared_with.length;
    const paths = payload.shared_with.map((path) => element("li", {}, element("code", {}, visible(path, 400))));
    nodes.push(fold(say("shared"), element("ul", {}, ...paths, rest > 0 && element("li", {}, say("moreRows", { count: rest }))), true));
  }
  if (payload?.state) nodes.push(fold(say("state"), list(Object.entries(payload.state).map(([key, value]) => [key, short(value)])), false));
  if (payload?.hooks) nodes.push(fold(say("hooks"), element("p", {}, short(payload.hooks)), false));
  const config = adapter ? summary.configs[adapter] : undefined;
  if (config) nodes.push(fold(say("config"), list(Object.entries(config).map(([key, value]) => [key, short(value)])), false));
  return nodes;
}

function fold(title: string, content: Node, open: boolean): HTMLElement {
  const made = element("details", {}, element("summary", {}, title), content);
  made.open = open;
  return made;
}

function list(entries: readonly (readonly [string, string])[]): HTMLElement {
  return element(
    "dl", {},
    ...entries.flatMap(([key, value]) => [element("dt", {}, visible(key)), element("dd", {}, value)]),
  );
}

function short(value: unknown): string {
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return visible(value.join(", "), 400) || "–";
  return visible(typeof value === "string" ? value : (JSON.stringify(value) ?? "–"), 400);
}
