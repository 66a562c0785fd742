/** The keys of the inspector: what each does, and what its help says of it. */

import type { Key } from "./messages.ts";

/** What a key can do wherever the focus is, text fields apart. */
export type Command =
  | "nextChange" | "previousChange" | "nextFinding" | "previousFinding" | "nextStep" | "previousStep" | "baseline"
  | "copyPath" | "copyPython" | "onlyChanges" | "fold" | "sideBySide" | "filter" | "help";

/** Name of what keys do; the help says it by the text `key.NAME`. */
type Deed = Key extends infer Name ? (Name extends `key.${infer Short}` ? Short : never) : never;

/** Keys as the help shows them, what they do, and the command of each; keys without one are the grid's or another part's own. */
export type Shortcut = readonly [keys: string, does: Deed, commands?: Readonly<Record<string, Command>>];

/** All keys, below the texts that say where they hold. */
export const SHORTCUTS: readonly (Shortcut | Key)[] = [
  ["↑ ↓", "row"],
  ["→", "open"],
  ["←", "close"],
  ["Home End", "ends"],
  ["Page ↑ ↓", "page"],
  ["Enter", "enter"],
  ["Shift+↑ Shift+↓", "selectBetween"],
  ["Ctrl+Space", "selectBeside"],
  ["Ctrl+A", "selectAll"],
  ["*", "all"],
  "keys.everywhere",
  ["n p", "change", { n: "nextChange", p: "previousChange" }],
  ["f F", "finding", { f: "nextFinding", F: "previousFinding" }],
  ["] [", "step", { "]": "nextStep", "[": "previousStep" }],
  ["b", "baseline", { b: "baseline" }],
  ["o", "onlyChanges", { o: "onlyChanges" }],
  ["a", "fold", { a: "fold" }],
  ["s", "sideBySide", { s: "sideBySide" }],
  ["c", "copyPath", { c: "copyPath" }],
  ["y", "copyPython", { y: "copyPython" }],
  ["/", "filter", { "/": "filter" }],
  ["?", "help", { "?": "help" }],
  "keys.titles",
  ["← →", "title"],
  ["Enter", "sort"],
  ["↓", "intoRows"],
  "filterLabel",
  ["↓ Enter", "intoRows"],
  ["Esc", "emptyFilter"],
  "tab.icicle",
  ["← → ↑ ↓", "piece"],
  ["Enter", "zoomIn"],
  ["Esc", "zoomOut"],
  ["Home", "zoomHome"],
  "tab.graph",
  ["↑ ↓ Home End", "line"],
  ["Enter", "enter"],
  "keys.lists",
  ["← →", "beside"],
  ["Enter", "choose"],
  ["Esc", "closeMenu"],
];

const COMMANDS = new Map(SHORTCUTS.flatMap((entry) => (typeof entry === "string" ? [] : Object.entries(entry[2] ?? {}))));

/** The command of a key press, if it is one: text fields keep their keys, and so does whoever uses Ctrl, Alt or Meta. */
export function commandOf(event: KeyboardEvent): Command | undefined {
  const target = event.target as HTMLElement;
  if (target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return undefined;
  return COMMANDS.get(event.key);
}
