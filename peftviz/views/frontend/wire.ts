/** Reads what `peftviz/views/inspector/wire.py` wrote; `docs/formats/view-table.md` describes the bytes. */

import type { Said } from "./messages.ts";

export interface Finding {
  rule: string;
  title?: string;
  upstream?: [name: string, address: string][];
  severity: string;
  path: string;
  adapter: string | null;
  message: string;
  message_said?: Said;
  evidence: Record<string, unknown>;
  remedy: string;
  remedy_said?: Said;
  repairable: boolean;
  row: number;
  rows: number[];
  rows_total: number;
}

type Pair<T> = [before: T, after: T];

export interface AdapterFacts {
  name: string;
  method: string;
  active: boolean;
  merged: boolean;
}

export interface Summary {
  title: string;
  subtitle: string;
  labels: Pair<string>;
  single: boolean;
  modules: Pair<number>;
  parameters: Pair<number>;
  trainable: Pair<number>;
  bytes: Pair<number>;
  handle: Pair<string>;
  adapters: Pair<string[]>;
  adapter_facts: Pair<AdapterFacts[]>;
  enabled: Pair<boolean>;
  configs: Record<string, Record<string, unknown>>;
  leftover_rows: number;
  leftover_bytes: number;
}

export interface Payload {
  state?: Record<string, unknown>;
  hooks?: unknown;
  shared_with?: string[];
  sharers?: number;
}

export type Part = [label: string, role: string, adapter: string, before: number, after: number, leftover: boolean];
export type FieldChange = [field: string, before: unknown, after: unknown];
export type Column = Uint8Array | Uint16Array | Uint32Array | Float64Array;

const ONCE = ["depth", "kind", "label", "status", "note", "role", "adapter", "exists"] as const;
const TWICE = ["type", "shape", "dtype", "device", "trainable", "bytes", "numel"] as const;

type ShownName = (typeof ONCE)[number] | `${(typeof TWICE)[number]}_${"before" | "after"}`;

/** What rows show, each combination sent once. */
const SHOWN = [...ONCE, ...TWICE.flatMap((name) => [`${name}_before`, `${name}_after`])] as ShownName[];

export type ColumnName = ShownName | "was";

export interface Table {
  rows: number;
  strings: string[];
  /** For each row, the combination of values that it shows. */
  pattern: Column;
  /** By the number of a combination, what rows show. */
  patterns: Record<ShownName, Column>;
  /** By row. Spread out from the patterns when first asked for: what looks at all rows takes them from here. */
  columns: Record<ColumnName, Column>;
  runFirst: Column;
  runLength: Column;
  summary: Summary;
  findings: Finding[];
  /** Rows of the fields that changed, ascending, and for each what of `changes` it was. */
  changeRow: Column;
  changeKind: Column;
  changes: FieldChange[];
  roles: Part[];
  /** Rows that have more to tell, ascending, and for each what of `details.payloads` it is. */
  detailRow: Column;
  detailPayload: Column;
  details: { payloads: Payload[]; cut: number };
}

export class WireError extends Error {}

const ARRAYS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f8: Float64Array } as const;

function demand(holds: unknown, what: string): asserts holds {
  if (!holds) throw new WireError(what);
}

/** Decompresses and decodes. */
export async function read(packed: ArrayBufferView): Promise<Table> {
  const bytes = new Uint8Array(packed.buffer as ArrayBuffer, packed.byteOffset, packed.byteLength);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return decode(await new Response(stream).arrayBuffer());
}

/** Decodes decompressed bytes; the columns are views into them. */
export function decode(buffer: ArrayBuffer): Table {
  const head = new DataView(buffer);
  demand(buffer.byteLength >= 8 && head.getUint32(0, false) === 0x50565431, "not a view table");
  const start = 8 + head.getUint32(4, true);
  demand(start <= buffer.byteLength, "header");
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  const rows: number = header.rows;
  const found = new Map<string, Column>();
  for (const [name, dtype, offset, length] of header.columns as [string, keyof typeof ARRAYS, number, number][]) {
    const array = ARRAYS[dtype];
    demand(array && start + offset + length * array.BYTES_PER_ELEMENT <= buffer.byteLength, name);
    found.set(name, new array(buffer, start + offset, length));
  }
  const column = (name: string, length = found.get(name)?.length ?? 0): Column => filled(name, found.get(name), length);
  const pattern = column("pattern", rows);
  const patterns = {} as Record<ShownName, Column>;
  const columns = { was: column("was", rows) } as Record<ColumnName, Column>;
  for (const name of SHOWN) {
    patterns[name] = column(name, header.patterns);
    let full: Column | undefined;
    Object.defineProperty(columns, name, { get: () => (full ??= spread(patterns[name], pattern)) });
  }
  const [runFirst, changeRow, detailRow] = [column("run_first"), column("change_row"), column("detail_row")];
  return {
    rows,
    strings: header.strings,
    pattern,
    patterns,
    columns,
    runFirst,
    runLength: column("run_length", runFirst.length),
    summary: header.summary,
    findings: header.findings,
    changeRow,
    changeKind: column("change_kind", changeRow.length),
    changes: header.changes,
    roles: header.roles,
    detailRow,
    detailPayload: column("detail_payload", detailRow.length),
    details: header.details,
  };
}

/** What each row shows of a column over the patterns. */
function spread(values: Column, pattern: Column): Column {
  const full = emptied(values, pattern.length);
  for (let row = 0; row < full.length; row++) full[row] = values[pattern[row]];
  return full;
}

/** A column of one value stands for that value in each place. */
function filled(name: string, column: Column | undefined, length: number): Column {
  if (column && column.length === length) return column;
  demand(column?.length === 1, name);
  return emptied(column, length).fill(column[0]);
}

function emptied(column: Column, length: number): Column {
  return new (column.constructor as new (length: number) => Column)(length);
}
