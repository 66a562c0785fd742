/** Reads what `peftviz/views/wire.py` wrote; `docs/formats/view-table.md` describes the bytes. */

export interface Finding {
  rule: string;
  title?: string;
  severity: string;
  path: string;
  adapter: string | null;
  message: string;
  evidence: Record<string, unknown>;
  remedy: string;
  repairable: boolean;
  row: number;
  rows: number[];
  rows_total: number;
}

type Pair<T> = [before: T, after: T];

export interface Summary {
  title: string;
  subtitle: string;
  labels: Pair<string>;
  single: boolean;
  modules: Pair<number>;
  parameters: Pair<number>;
  trainable: Pair<number>;
  bytes: Pair<number>;
  adapters: Pair<string[]>;
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

const READERS: Readonly<Record<string, [size: number, make: (buffer: ArrayBuffer, offset: number, length: number) => Column]>> = {
  u1: [1, (buffer, offset, length) => new Uint8Array(buffer, offset, length)],
  u2: [2, (buffer, offset, length) => new Uint16Array(buffer, offset, length)],
  u4: [4, (buffer, offset, length) => new Uint32Array(buffer, offset, length)],
  f8: [8, (buffer, offset, length) => new Float64Array(buffer, offset, length)],
};

/** Decompresses and decodes. */
export async function read(packed: ArrayBufferView): Promise<Table> {
  const bytes = new Uint8Array(packed.buffer as ArrayBuffer, packed.byteOffset, packed.byteLength);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return decode(await new Response(stream).arrayBuffer());
}

/** Decodes decompressed bytes; the columns are views into them. */
export function decode(buffer: ArrayBuffer): Table {
  const head = new DataView(buffer);
  if (buffer.byteLength < 8 || head.getUint32(0, false) !== 0x50565431) throw new WireError("not a view table");
  const start = 8 + head.getUint32(4, true);
  if (start > buffer.byteLength) throw new WireError("the header is cut off");
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  const rows: number = header.rows;
  const found = new Map<string, Column>();
  for (const [name, dtype, offset, length] of header.columns as [string, string, number, number][]) {
    const reader = READERS[dtype];
    if (!reader) throw new WireError(`column ${name} has the unknown type ${dtype}`);
    if (start + offset + length * reader[0] > buffer.byteLength) throw new WireError(`column ${name} is cut off`);
    found.set(name, reader[1](buffer, start + offset, length));
  }
  const columns = {} as Record<ColumnName, Column>;
  for (const name of NAMES) columns[name] = spread(name, found.get(name), rows);
  const runFirst = found.get("run_first");
  const runLength = found.get("run_length");
  if (!runFirst || !runLength) throw new WireError("the runs are missing");
  return {
    rows,
    strings: header.strings,
    columns,
    runFirst,
    runLength: runLength.length === runFirst.length ? runLength : spread("run_length", runLength, runFirst.length),
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
  if (!column || column.length !== 1) throw new WireError(`column ${name} does not have ${rows} entries`);
  const full = new (column.constructor as new (length: number) => Column)(rows);
  return full.fill(column[0]);
}
