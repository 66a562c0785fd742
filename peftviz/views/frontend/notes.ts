/** The remarks on rows, which `peftviz/views/viewmodel/sides.py` writes in English, in the reader's language. */

import { visible } from "./format.ts";
import { type Key, say } from "./messages.ts";

const REMARKS: readonly (readonly [RegExp, Key])[] = [
  [/^active$/, "note.active"],
  [/^not in the state dict$/, "note.unsaved"],
  [/^alias of (?<path>.*)$/s, "note.alias"],
  [/^shared with (?<path>.*) and (?<more>[\d,]+) more$/s, "note.sharedMore"],
  [/^shared with (?<path>.*)$/s, "note.shared"],
];

/** A remark as the reader reads it; one that is not known stays as it is. */
export function remark(text: string): string {
  for (const [pattern, key] of REMARKS) {
    const groups = pattern.exec(text);
    if (groups) return say(key, { path: visible(groups.groups?.path ?? ""), more: groups.groups?.more ?? "" });
  }
  return visible(text);
}
