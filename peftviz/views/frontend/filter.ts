/** The text filter: which rows hold all of its words. */

import type { Tree } from "./tree.ts";

const MAX_WORDS = 8;

/** Marks the rows that pass: each word stands in one of the row's texts, or, where it holds a dot, in its path. */
export function passing(tree: Tree, words: readonly string[]): Uint8Array {
  const { pattern, patterns, columns: { was }, strings } = tree.table;
  const used = words.slice(0, MAX_WORDS);
  const lower = strings.map((text) => text.toLowerCase());
  const hits = new Uint8Array(strings.length);
  lower.forEach((text, code) => used.forEach((word, bit) => text.includes(word) && (hits[code] |= 1 << bit)));
  const dotted = used.flatMap((word, bit) => (word.includes(".") ? [pathMatcher(tree, lower, word, 1 << bit)] : []));
  const all = (1 << used.length) - 1;
  const texts = [
    patterns.label, patterns.note, patterns.adapter, patterns.type_before, patterns.type_after, patterns.dtype_before,
    patterns.dtype_after, patterns.shape_before, patterns.shape_after, patterns.device_before, patterns.device_after,
  ];
  const bits = new Uint8Array(patterns.label.length);
  for (const codes of texts) codes.forEach((code, number) => (bits[number] |= hits[code]));
  const passes = new Uint8Array(tree.rows);
  for (let row = 0; row < passes.length; row++) passes[row] = bits[pattern[row]] | hits[was[row]];
  for (const match of dotted) match(passes);
  for (let row = 0; row < passes.length; row++) passes[row] = (passes[row] & all) === all ? 1 : 0;
  return passes;
}

/**
 * Sets a bit for the rows whose dotted path holds a word, without making a path: the first piece of the word ends a name,
 * the last begins one, those between are whole names; and what is below such a row has the word in its path, too.
 */
function pathMatcher({ parent, table: { columns } }: Tree, lower: readonly string[], word: string, bit: number): (passes: Uint8Array) => void {
  const pieces = word.split(".");
  const last = pieces.length - 1;
  const fits = pieces.map((piece, place) =>
    Uint8Array.from(lower, (name) => Number(place === 0 ? name.endsWith(piece) : place === last ? name.startsWith(piece) : name === piece)),
  );
  return (passes) => {
    const within = new Uint8Array(parent.length);
    for (let row = 1; row < parent.length; row++) {
      let at = row;
      let place = last;
      while (place >= 0 && at > 0 && fits[place][columns.label[at]]) {
        at = parent[at];
        place--;
      }
      if (place < 0 || within[parent[row]]) {
        within[row] = 1;
        passes[row] |= bit;
      }
    }
  };
}
