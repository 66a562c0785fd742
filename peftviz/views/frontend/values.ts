/** JSON values as a reader sees them. */

import { formatBytes, visible } from "./format.ts";

/** A value on one line; lists of plain values without their brackets. */
export function briefly(value: unknown, limit = 400): string {
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return visible(value.join(", "), limit) || "–";
  return visible(typeof value === "string" ? value : (JSON.stringify(value) ?? "–"), limit);
}

/** A named value; what is called bytes is written as bytes. */
export function named(key: string, value: unknown): string {
  return typeof value === "number" && /(^|_)n?bytes$/.test(key) ? formatBytes(value) : briefly(value);
}
