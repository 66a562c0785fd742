/** The tab with the list of findings: a click selects the row. */

import type { Desk, Tab } from "./desk.ts";
import { element } from "./dom.ts";
import { visible } from "./format.ts";
import { inWords, known, say, severity } from "./messages.ts";
import { redRow } from "./tree.ts";
import type { Finding } from "./wire.ts";

export class Findings implements Tab {
  readonly id = "findings";
  readonly #desk: Desk;

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  badge(): Node | null {
    const { findings } = this.#desk.model.table;
    if (!findings.length) return null;
    const red = findings.some((finding) => finding.severity !== "info");
    return element("strong", { class: red ? "red" : "" }, ` ${findings.length}`);
  }

  open(panel: HTMLElement): void {
    const { table } = this.#desk.model;
    panel.replaceChildren(
      element("p", { class: "judged" }, judgedBy(this.#desk)),
      findingsList(table.findings, (finding) => {
        const row = redRow(table, finding);
        if (row >= 0) this.#desk.reveal(row, true);
      }),
    );
  }
}

/** What findings are judged against: not always what is compared. */
function judgedBy({ model, steps, view }: Desk): string {
  if (!steps.length) return say(model.table.summary.single ? "judged.alone" : "judged.before");
  return steps[view.index].judged ? say("judged.baseline", { step: visible(steps[0].label, 80) }) : say("judged.alone");
}

function findingsList(findings: readonly Finding[], select: (finding: Finding) => void): HTMLElement {
  if (!findings.length) return element("p", { class: "nothing good" }, `✓ ${say("noFindings")}`);
  const list = element("ul", { class: "findings", "aria-label": say("tab.findings") });
  for (const finding of findings) {
    const [symbol, word] = severity(finding.severity);
    const more = finding.rows_total > 1 ? say("rowsConcerned", { count: finding.rows_total }) : "";
    const item = element(
      "button", { type: "button", class: `finding ${finding.severity}` },
      element("span", { class: "rule" }, [`${symbol} ${finding.rule}`, known(`rule.${finding.rule}`), word].filter(Boolean).join(" · ")),
      element("span", { class: "message" }, visible(inWords(finding.message, finding.message_said), 600)),
      element("span", { class: "place" }, element("code", {}, visible(finding.path) || say("model")), more && ` · ${more}`),
    );
    item.addEventListener("click", () => select(finding));
    list.append(element("li", {}, item));
  }
  return list;
}
