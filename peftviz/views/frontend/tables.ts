/** The tab of memory: small tables of who holds how much, before and after. */

import type { Desk, Tab } from "./desk.ts";
import { element } from "./dom.ts";
import { formatBytes, formatDelta, visible } from "./format.ts";
import { say } from "./messages.ts";
import { MODULE } from "./model.ts";
import type { ColumnName, Table } from "./wire.ts";

type Line = [name: string, before: number, after: number, red: boolean];

export class Memory implements Tab {
  readonly id = "memory";
  readonly #desk: Desk;

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  open(panel: HTMLElement): void {
    panel.replaceChildren(memoryTables(this.#desk.model.table));
  }
}

function memoryTables(table: Table): HTMLElement {
  const parts = table.roles.map(([label, , , before, after, red]): Line => [label, before, after, red]);
  return element(
    "div", { class: "tables" },
    one(say("byPart"), parts, table),
    one(say("byDtype"), grouped(table, "dtype"), table),
    one(say("byDevice"), grouped(table, "device"), table),
  );
}

function grouped(table: Table, key: "dtype" | "device"): Line[] {
  const { columns } = table;
  const sums = new Map<number, [number, number]>();
  for (const [side, when] of [[0, "before"], [1, "after"]] as const) {
    const codes = columns[`${key}_${when}` as ColumnName];
    const bytes = columns[`bytes_${when}` as ColumnName];
    for (let row = 0; row < table.rows; row++) {
      if (columns.kind[row] === MODULE || !(columns.exists[row] & (side + 1))) continue;
      let sum = sums.get(codes[row]);
      if (!sum) sums.set(codes[row], (sum = [0, 0]));
      sum[side] += bytes[row];
    }
  }
  return [...sums].map(([code, [before, after]]): Line => [table.strings[code], before, after, false]).sort((a, b) => b[2] - a[2]);
}

function one(title: string, lines: readonly Line[], { summary }: Table): HTMLElement {
  const heads = summary.single ? [say("memory")] : [say("before"), say("after"), say("difference")];
  const row = (name: string, before: number, after: number, red: boolean): HTMLElement => {
    const numbers = summary.single ? [formatBytes(after)] : [formatBytes(before), formatBytes(after), formatDelta(before, after, true)];
    return element(
      "tr", { class: red ? "leftover" : "" },
      element("th", { scope: "row" }, red ? `◆ ${say("leftover")} · ${visible(name)}` : visible(name)),
      ...numbers.map((text) => element("td", {}, text)),
    );
  };
  const total = row(say("summary.bytes"), summary.bytes[0], summary.bytes[1], false);
  total.className = "total";
  return element(
    "table", {},
    element("caption", {}, title),
    element("thead", {}, element("tr", {}, ...[say("part"), ...heads].map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...lines.map((line) => row(...line)), total),
  );
}
