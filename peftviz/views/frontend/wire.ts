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
export type FieldChange = [row: number, field: string, before: unknown, after: unknown];
export type Column = Uint8Array | Uint16Array | Uint32Array | Float64Array;

const ONCE = ["depth", "kind", "label", "was", "status", "note", "role", "adapter", "exists"] as const;
const TWICE = ["type", "shape", "dtype", "device", "trainable", "bytes", "numel"] as const;

export type ColumnName = (typeof ONCE)[number] | `${(typeof TWICE)[number]}_${"before" | "after"}`;

const NAMES = [...ONCE, ...TWICE.flatMap((name) => [`${name}_before`, `${name}_after`])] as ColumnName[];

export interface Table {
  rows: number;
  strings: string[];
  columns: Record<ColumnName, Column>;
  runFirst: Column;
  runLength: Column;
  summary: Summary;
  findings: Finding[];
  changes: FieldChange[];
  roles: Part[];
  details: { rows: number[]; payload: number[]; payloads: Payload[]; cut: number };
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
  const columns = {} as Record<ColumnName, Column>;
  for (const name of NAMES) columns[name] = spread(name, found.get(name), rows);
  const runFirst = found.get("run_first");
  demand(runFirst, "run_first");
  return {
    rows,
    strings: header.strings,
    columns,
    runFirst,
    runLength: spread("run_length", found.get("run_length"), runFirst.length),
    summary: header.summary,
    findings: header.findings,
    changes: header.changes,
    roles: header.roles,
    details: header.details,
  };
}

/** A column of one value stands for that value in each row. */
function spread(name: string, column: Column | undefined, rows: number): Column {
  if (column && column.length === rows) return column;
  demand(column?.length === 1, name);
  const full = new (column.constructor as new (length: number) => Column)(rows);
  return full.fill(column[0]);
}
