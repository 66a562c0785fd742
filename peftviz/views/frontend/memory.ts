/** The bars at the foot: who owns the memory, before and after. */

import { element } from "./dom.ts";
import { formatBytes, visible } from "./format.ts";
import { say } from "./messages.ts";
import type { Part, Table } from "./wire.ts";

/** A piece with a smaller share has no room for a name; it has a title. */
const NAMED = 0.035;

export function memoryBars(table: Table, label: string): HTMLElement {
  const total = Math.max(...table.summary.bytes, 1);
  const root = element("section", { class: "bars", "aria-label": say("memoryNow") });
  if (table.summary.single) root.append(...bar(say("memoryNow"), table.roles, 4, total, table.summary.bytes[1]));
  else {
    root.append(...bar(say("barBefore"), table.roles, 3, total, table.summary.bytes[0]));
    root.append(...bar((label ? say("barAfter", { label: visible(label) }) : say("side.after")), table.roles, 4, total, table.summary.bytes[1]));
  }
  return root;
}

function bar(title: string, parts: readonly Part[], side: 3 | 4, total: number, sum: number): HTMLElement[] {
  const line = element("div", { class: "stack", role: "list", "aria-label": `${title}, ${formatBytes(sum)}` });
  for (const part of parts) {
    const bytes = part[side];
    if (bytes <= 0) continue;
    const red = part[5] && side === 4;
    const name = visible(part[0]);
    const text = red ? `◆ ${say("leftover")} · ${name}` : name;
    const piece = element(
      "span", { role: "listitem", class: `piece ${red ? "leftover" : part[1]}`, title: `${text} · ${formatBytes(bytes)}`, "aria-label": text },
      bytes / total > NAMED ? text : "",
    );
    piece.style.flexGrow = String(bytes / total);
    line.append(piece);
  }
  const rest = element("span", { class: "rest", "aria-hidden": "true" });
  rest.style.flexGrow = String(Math.max(0, 1 - sum / total));
  line.append(rest);
  return [element("div", { class: "caption" }, element("span", {}, title), element("span", {}, formatBytes(sum))), line];
}
