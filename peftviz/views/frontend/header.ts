/** The summary line: what this is, how it changed, and whether something is left over. */

import type { Desk } from "./desk.ts";
import { button, element } from "./dom.ts";
import { ARROW, formatBytes, formatCount, formatDelta, formatPair, visible } from "./format.ts";
import { say } from "./messages.ts";

export function fillHeader(header: HTMLElement, { model, view, steps }: Desk, showFindings: () => void): void {
  const { summary, findings } = model.table;
  const device = model.soleDevice;
  const where = steps.length ? (view.index ? say("stepOf", { index: view.index, last: steps.length - 1 }) : say("stepBaseline")) : visible(view.title);
  const compared = steps.length && view.index !== view.base && view.index !== view.base + 1 ? say("comparedWith", { step: steps[view.base].label }) : "";
  const subtitle = [formatPair(handle(summary.handle[0]), handle(summary.handle[1])), adapters(summary.adapters.map((names) => names.length)), where, visible(compared)].filter(Boolean).join(" · ");
  const facts = element("dl", {});
  for (const key of ["modules", "parameters", "trainable", "bytes"] as const) {
    const bytes = key === "bytes";
    const format = bytes ? formatBytes : formatCount;
    const [before, after] = summary[key];
    const text = summary.single ? format(after) : formatPair(format(before), format(after));
    const delta = summary.single ? "" : formatDelta(before, after, bytes);
    facts.append(
      element("div", {}, element("dt", {}, bytes && device ? say("memoryOn", { device: visible(device) }) : say(`summary.${key}`)), element("dd", {}, text, delta && element("span", { class: "delta" }, ` ${delta}`))),
    );
  }
  header.replaceChildren(
    element("div", { class: "title" }, element("h1", {}, visible(summary.title)), element("p", {}, subtitle)),
    facts, verdict(),
  );

  function verdict(): HTMLElement {
    const severe = findings.filter((finding) => finding.severity !== "info").length;
    if (!severe) return element("span", { class: "verdict good", role: "status" }, say("clean"));
    const left = findings.filter((finding) => finding.rule.startsWith("PV1")).length;
    const size = summary.leftover_bytes ? ` · ${formatBytes(summary.leftover_bytes)}` : "";
    return button(`◆ ${left ? say("leftovers", { count: left }) : say("findings", { count: severe })}${size}`, "verdict bad", showFindings);
  }
}

function handle(name: string): string {
  return name === "plain" ? say("plainModel") : visible(name);
}

function adapters([before, after]: readonly number[]): string {
  const now = say("adapterCount", { count: after });
  return before === after ? now : `${say("adapterCount", { count: before })} ${ARROW} ${after}`;
}
