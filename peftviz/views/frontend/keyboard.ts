/** The keys of the inspector, as its help lists them. */

import type { Key } from "./messages.ts";

export const KEYS: ReadonlyArray<readonly [keys: string, does: Key]> = [
  ["↑ ↓", "key.row"],
  ["→", "key.open"],
  ["←", "key.close"],
  ["Home End", "key.ends"],
  ["Page ↑ ↓", "key.page"],
  ["Enter", "key.enter"],
  ["n p", "key.change"],
  ["*", "key.all"],
  ["/", "key.filter"],
  ["?", "key.help"],
];
