/** Every text that the reader sees. They stand in `views/messages`, one file a language, and come with the data. */

import type en from "../messages/en.json";

/** Name of a text; a name that `en.json` lacks does not compile. */
export type Key = keyof typeof en;

/** A text with `{names}` for what is put in, or one such text for each plural form of `{count}`. */
type Message = string | Partial<Record<Intl.LDMLPluralRule, string>>;
type Catalog = Record<string, Message>;

/** Catalogs by language; the first is used where the reader's browser asks for none of them. */
export type Catalogs = Record<string, Catalog>;

let catalog: Catalog = {};
let plurals = new Intl.PluralRules("en");

/** Takes the catalog of the language that the reader prefers, and returns the language. */
export function speak(catalogs: Catalogs, wanted: readonly string[] = navigator.languages): string {
  const known = Object.keys(catalogs);
  const language = wanted.map((tag) => tag.split("-")[0]).find((tag) => known.includes(tag)) ?? known[0] ?? "en";
  catalog = catalogs[language] ?? {};
  plurals = new Intl.PluralRules(language);
  return language;
}

/** A text in the reader's language; numbers are grouped, and `count` chooses the plural form. */
export function say(key: Key, values: Readonly<Record<string, string | number>> = {}): string {
  const entry = catalog[key] ?? key;
  const message = typeof entry === "string" ? entry : (entry[plurals.select(Number(values.count))] ?? entry.other ?? key);
  return message.replace(/\{(\w+)\}/g, (hole, name: string) => {
    const value = values[name];
    return value === undefined ? hole : typeof value === "number" ? value.toLocaleString("en") : value;
  });
}

/** Which text says what the kernel wrote, and what stands in it: `peftviz/views/inspector/wording.py` says so. */
export interface Said {
  name: string;
  values: Readonly<Record<string, string | Said>>;
}

/** What the kernel wrote, in the reader's language as far as the message files know it. */
export function inWords(text: string, said?: Said): string {
  if (!said || !(said.name in catalog)) return text;
  const values = Object.entries(said.values).map(([hole, value]) => [hole, typeof value === "string" ? value : inWords("", value)]);
  return say(said.name as Key, Object.fromEntries(values));
}

/** A text of a name that comes with the data; empty for one that the message files do not know. */
export function known(name: string): string {
  return name in catalog ? say(name as Key) : "";
}

/** Symbol and name of each status, by its code; the word is the text `status.NAME`. */
export const STATUS = [
  ["=", "same"],
  ["~", "changed"],
  ["~", "inside"],
  ["+", "added"],
  ["−", "removed"],
  ["⤷", "wrapped"],
  ["⤶", "unwrapped"],
  ["→", "moved"],
  ["↻", "replaced"],
  ["∞", "retied"],
  ["◆", "leftover"],
  ["⚠", "fault"],
] as const;

export const KINDS = ["module", "parameter", "buffer"] as const;
export const ROLES = ["base", "wrapper", "wrapped", "adapter", "saved", "shared"] as const;

/** Symbol and word of a severity. */
export function severity(name: string): readonly [symbol: string, word: string] {
  const known = name === "error" || name === "warning" ? name : "info";
  return [known === "info" ? "ℹ" : "◆", say(`severity.${known}`)];
}

export function trainable(code: number): string {
  return code === 1 ? say("trainable.frozen") : code === 2 ? "✓" : code === 3 ? say("trainable.partly") : "";
}

/** As `trainable`, for a screen reader. */
export function trainableSpoken(code: number): string {
  return code === 2 ? say("trainable.yes") : code === 3 ? say("trainable.spokenPartly") : trainable(code);
}
