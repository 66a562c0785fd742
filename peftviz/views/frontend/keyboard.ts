/** The keys of the inspector: what each does, and what its help says of it. */

import type { Key } from "./messages.ts";

/** What a key can do wherever the focus is, text fields apart. */
export type Command =
  | "nextChange" | "previousChange" | "nextFinding" | "previousFinding" | "nextStep" | "previousStep" | "baseline"
  | "copyPath" | "copyPython" | "onlyChanges" | "fold" | "sideBySide" | "filter" | "help";

interface Shortcut {
  /** As the help shows it. */
  keys: string;
  does: Key;
  /** Command by key; keys without one are the grid's or the tree's own. */
  commands?: Readonly<Record<string, Command>>;
}

export const SHORTCUTS: readonly Shortcut[] = [
  { keys: "↑ ↓", does: "key.row" },
  { keys: "→", does: "key.open" },
  { keys: "←", does: "key.close" },
  { keys: "Home End", does: "key.ends" },
  { keys: "Page ↑ ↓", does: "key.page" },
  { keys: "Enter", does: "key.enter" },
  { keys: "*", does: "key.all" },
  { keys: "n p", does: "key.change", commands: { n: "nextChange", p: "previousChange" } },
  { keys: "f F", does: "key.finding", commands: { f: "nextFinding", F: "previousFinding" } },
  { keys: "] [", does: "key.step", commands: { "]": "nextStep", "[": "previousStep" } },
  { keys: "b", does: "key.baseline", commands: { b: "baseline" } },
  { keys: "o", does: "key.onlyChanges", commands: { o: "onlyChanges" } },
  { keys: "a", does: "key.fold", commands: { a: "fold" } },
  { keys: "s", does: "key.sideBySide", commands: { s: "sideBySide" } },
  { keys: "c", does: "key.copyPath", commands: { c: "copyPath" } },
  { keys: "y", does: "key.copyPython", commands: { y: "copyPython" } },
  { keys: "/", does: "key.filter", commands: { "/": "filter" } },
  { keys: "?", does: "key.help", commands: { "?": "help" } },
];

const COMMANDS = new Map(SHORTCUTS.flatMap(({ commands }) => Object.entries(commands ?? {})));

/** The command of a key press, if it is one: text fields keep their keys, and so does whoever uses Ctrl, Alt or Meta. */
export function commandOf(event: KeyboardEvent): Command | undefined {
  const target = event.target as HTMLElement;
  if (target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return undefined;
  return COMMANDS.get(event.key);
}
