/** The line of Python that reaches a row, right for indices, keys and names that are no identifiers. */

import { MODULE, type Tree } from "./tree.ts";

const BY_KEY = new Set(["ModuleDict", "ParameterDict", "BufferDict"]);
const BY_PLACE = new Set(["ModuleList", "ParameterList", "Sequential"]);
const KEYWORDS = new Set(
  ("False None True and as assert async await break class continue def del elif else except finally for from global if import in is " +
    "lambda nonlocal not or pass raise return try while with yield").split(" "),
);

/** An expression for the module or tensor of a row, starting from a variable that holds the model. */
export function pythonPath(model: Tree, row: number, variable = "model"): string {
  const rows: number[] = [];
  for (let at = row; at > 0; at = model.parent[at]) rows.push(at);
  return rows.reverse().reduce((expression, at) => {
    const above = model.parent[at];
    const label = model.text("label", at);
    const type = model.table.strings[model.at("type_after", above) || model.at("type_before", above)];
    if (BY_KEY.has(type)) return `${expression}[${pythonString(label)}]`;
    if (BY_PLACE.has(type) && label === String(placeAmongSiblings(model, at))) return `${expression}[${label}]`;
    // Python reads identifiers in their NFKC form, so only plain ones are sure to mean themselves.
    return /^[A-Za-z_]\w*$/.test(label) && !KEYWORDS.has(label) ? `${expression}.${label}` : `getattr(${expression}, ${pythonString(label)})`;
  }, variable);
}

/** A string literal of Python in plain ASCII. */
export function pythonString(text: string): string {
  const escaped = text.replace(/["\\]|[^ -~]/gu, (character) => {
    if (character === '"' || character === "\\") return `\\${character}`;
    const code = character.codePointAt(0)!;
    return code < 0x100 ? `\\x${hex(code, 2)}` : code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
  });
  return `"${escaped}"`;
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}

/** How many siblings of its kind, modules or tensors, that are still there stand before a row. */
function placeAmongSiblings(model: Tree, row: number): number {
  const side = model.on("after", row) ? "after" : "before";
  let place = 0;
  for (let at = model.parent[row] + 1; at < row; at = model.end[at]) {
    if ((model.at("kind", at) === MODULE) === (model.at("kind", row) === MODULE) && model.on(side, at)) place++;
  }
  return place;
}
