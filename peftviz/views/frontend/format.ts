/** Numbers and names as a reader sees them: the same rules as `peftviz/views/formatting.py` and `escaping.py`. */

const BYTES = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const COUNTS = ["", "K", "M", "B", "T"];
const MAX_NAME = 160;
const HIDDEN =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\\\u00a0\u115f\u1160\u2000-\u200a\u202f\u205f\u2800\u3000\u3164\uffa0\ufe00-\ufe0f\u034f\u17b4\u17b5\u180b\u180c\u{e0100}-\u{e01ef}]/gu;
const MAX_MARKS = 4;
const PILED = /[\p{Mn}\p{Me}]{5,}/gu;
const NAMED: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

export const ARROW = "→";
export const MINUS = "−";

/** Bytes with an SI unit: `18.19 GB`, `131 kB`. */
export function formatBytes(count: number): string {
  return scaled(count, BYTES, 1000);
}

/** A number of things: exact below 10,000, then with a unit. */
export function formatCount(count: number): string {
  if (Math.abs(count) < 10_000) return Math.trunc(count).toLocaleString("en").replace("-", MINUS);
  return scaled(count, COUNTS, 0);
}

/** A difference with its sign, empty when there is none. */
export function formatDelta(before: number, after: number, bytes: boolean): string {
  const delta = after - before;
  if (delta === 0) return "";
  const size = Math.abs(delta);
  return (delta > 0 ? "+" : MINUS) + (bytes ? formatBytes(size) : formatCount(size));
}

export function formatPair(before: string, after: string): string {
  return before === after ? after : `${before || "–"} ${ARROW} ${after || "–"}`;
}

/** A name on one line with nothing hidden in it: marks that turn the writing direction and the like as escapes. */
export function visible(text: string, limit = MAX_NAME): string {
  const characters = text.length > 2 * limit ? text.slice(0, limit) + text.slice(-limit) : text;
  const shown = characters.replace(HIDDEN, escaped).replace(PILED, (pile) => [...pile].map((mark, at) => (at < MAX_MARKS ? mark : escaped(mark))).join(""));
  if (shown.length <= limit && characters === text) return shown;
  const head = Math.floor(limit / 2);
  return `${shown.slice(0, head)}…${shown.slice(shown.length - (limit - 1 - head))}`;
}

function escaped(character: string): string {
  const named = NAMED[character];
  if (named) return named;
  const code = character.codePointAt(0)!;
  const digits = code.toString(16);
  if (code < 0x100) return `\\x${digits.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${digits.padStart(4, "0")}` : `\\U${digits.padStart(8, "0")}`;
}

function scaled(value: number, units: readonly string[], wholeBelow: number): string {
  const sign = value < 0 ? MINUS : "";
  let size = Math.abs(value);
  if (size < wholeBelow) return `${sign}${Math.trunc(size)} ${units[0]}`.trimEnd();
  let exponent = 0;
  while (exponent < units.length - 1 && (size >= 1000 || Number(size.toPrecision(3)) >= 1000)) {
    size /= 1000;
    exponent++;
  }
  let digits = size >= 100 ? size.toFixed(0) : size >= 1 ? size.toFixed(2) : size.toFixed(3);
  if (digits.endsWith("00") && digits.includes(".") && size < 100) digits = digits.replace(/\.?0+$/, "");
  return `${sign}${digits} ${units[exponent]}`.trimEnd();
}
