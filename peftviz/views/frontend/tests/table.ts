/** Hand-made tables: rows as `[depth, label, options]`. */

import { type Column, type ColumnName, type Table, decode } from "../wire.ts";

export interface RowOptions {
  kind?: number;
  status?: number;
  type?: string;
  shape?: string;
  bytes?: number;
  run?: number;
  was?: string;
  exists?: number;
}

export type Row = [depth: number, label: string, options?: RowOptions];

const TYPES: Record<string, string> = {
  bytes_before: "f8", bytes_after: "f8", numel_before: "f8", numel_after: "f8",
};
const NAMES: ColumnName[] = [
  "depth", "kind", "label", "was", "status", "note", "role", "adapter", "exists", "type_before", "type_after",
  "shape_before", "shape_after", "dtype_before", "dtype_after", "device_before", "device_after", "trainable_before",
  "trainable_after", "bytes_before", "bytes_after", "numel_before", "numel_after",
];

export function bytesOf(rows: readonly Row[], single = false): ArrayBuffer {
  const strings = [""];
  const code = (text: string): number => {
    const at = strings.indexOf(text);
    return at >= 0 ? at : strings.push(text) - 1;
  };
  const values = new Map<string, number[]>(NAMES.map((name) => [name, rows.map(() => 0)]));
  rows.forEach(([depth, label, options = {}], row) => {
    const set = (name: string, value: number): void => void (values.get(name)![row] = value);
    set("depth", depth);
    set("label", code(label));
    set("kind", options.kind ?? 0);
    set("status", options.status ?? 0);
    set("exists", options.exists ?? 3);
    set("was", code(options.was ?? ""));
    for (const side of ["before", "after"]) {
      set(`type_${side}`, code(options.type ?? "Module"));
      set(`shape_${side}`, code(options.shape ?? ""));
      set(`bytes_${side}`, options.bytes ?? 0);
    }
  });
  const leaders = rows.flatMap(([, , options], row) => (options?.run ? [row] : []));
  values.set("run_first", leaders);
  values.set("run_length", leaders.map((row) => rows[row][2]!.run!));
  values.set("pattern", [...rows.keys()]); // no two rows share one, though they could
  for (const name of ["change_row", "change_kind", "detail_row", "detail_payload"]) values.set(name, []);
  const columns: [string, string, number, number][] = [];
  const chunks: { offset: number; data: Column }[] = [];
  let size = 0;
  for (const [name, list] of values) {
    const dtype = TYPES[name] ?? "u4";
    const data = dtype === "f8" ? Float64Array.from(list) : Uint32Array.from(list);
    columns.push([name, dtype, size, list.length]);
    chunks.push({ offset: size, data });
    size += Math.ceil(data.byteLength / 8) * 8;
  }
  const summary = { title: "Model", single, bytes: [0, 0], adapters: [[], []], configs: {}, labels: ["", ""] };
  const header = {
    rows: rows.length, patterns: rows.length, columns, strings, summary, findings: [], changes: [], roles: [],
    details: { payloads: [], cut: 0 },
  };
  let text = JSON.stringify(header).replace(/[^\x00-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`); // as Python sends it
  text += " ".repeat((8 - ((8 + text.length) % 8)) % 8);
  const buffer = new ArrayBuffer(8 + text.length + size);
  const bytes = new Uint8Array(buffer);
  bytes.set(new TextEncoder().encode("PVT1"));
  new DataView(buffer).setUint32(4, text.length, true);
  bytes.set(new TextEncoder().encode(text), 8);
  for (const { offset, data } of chunks) bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 8 + text.length + offset);
  return buffer;
}

export function tableOf(rows: readonly Row[], single = false): Table {
  return decode(bytesOf(rows, single));
}
