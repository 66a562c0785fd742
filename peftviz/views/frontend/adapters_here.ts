/** What the adapters are at one module: rank, scaling and the like, an adapter a column. */

import { element } from "./dom.ts";
import { visible } from "./format.ts";
import { say } from "./messages.ts";
import type { TreeModel } from "./model.ts";
import { briefly } from "./values.ts";

/** Words by which the fields of a config are known that say how an adapter computes. */
const TELLING = /(^|_)(r|rank|alpha|scaling|dropout|init|rslora|dora)(_|$)/;

type Values = Record<string, unknown>;

/** A table of the adapters at a module, or of the module that a row is inside of; null where there are none. */
export function adaptersHere(model: TreeModel, row: number): HTMLElement | null {
  const place = layerOf(model, row);
  if (!place) return null;
  const { rows, adapters } = place;
  return element(
    "table", { class: "adapters" },
    element("caption", {}, `${say("adaptersAt")} `, element("code", {}, visible(model.text("label", place.row), 60))),
    element("thead", {}, element("tr", {}, element("td", {}), ...adapters.map((name) => element("th", { scope: "col" }, visible(name, 40))))),
    element(
      "tbody", {},
      ...[...rows].map(([field, values]) =>
        element("tr", {}, element("th", { scope: "row" }, visible(field)), ...adapters.map((name) => element("td", {}, name in values ? briefly(values[name], 80) : "–"))),
      ),
    ),
  );
}

/** The nearest module at or above a row whose state says something for each adapter. */
function layerOf(model: TreeModel, row: number): { row: number; rows: Map<string, Values>; adapters: string[] } | null {
  const { summary } = model.table;
  const known = new Set([...summary.adapters[0], ...summary.adapters[1], ...Object.keys(summary.configs)]);
  for (let at = row; at >= 0; at = model.parent[at]) {
    const state = model.payload(at)?.state;
    if (!state) continue;
    const rows = new Map<string, Values>();
    const names = new Set<string>();
    for (const [field, value] of Object.entries(state)) {
      if (!isValues(value) || !Object.keys(value).some((name) => known.has(name)) || Object.values(value).some(isValues)) continue;
      rows.set(field, value);
      for (const name of Object.keys(value)) names.add(name);
    }
    if (!rows.size) continue;
    const adapters = [...names];
    for (const name of adapters) addConfig(rows, name, summary.configs[name] ?? {});
    return { row: at, rows, adapters };
  }
  return null;
}

/** Adds the telling fields of a config that the layer itself does not hold. */
function addConfig(rows: Map<string, Values>, adapter: string, config: Values): void {
  for (const [field, value] of Object.entries(config)) {
    if (!TELLING.test(field) || value === null || isValues(value) || (rows.has(field) && adapter in rows.get(field)!)) continue;
    rows.set(field, { ...rows.get(field), [adapter]: value });
  }
}

function isValues(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
