import assert from "node:assert/strict";
import test from "node:test";
import { gzipSync } from "node:zlib";
import { ends, parents } from "../tree.ts";
import { WireError, decode, read } from "../wire.ts";
import { bytesOf } from "./table.ts";

const BYTES = bytesOf([[0, "Model"], [1, "a"], [2, "b"], [1, "c"]]);

test("a compressed table is read, columns as views", async () => {
  const table = await read(gzipSync(new Uint8Array(BYTES)));
  assert.equal(table.rows, 4);
  assert.deepEqual([...table.columns.label].map((code) => table.strings[code]), ["Model", "a", "b", "c"]);
  const parent = parents(table.columns.depth);
  assert.deepEqual([...parent], [-1, 0, 1, 0]);
  assert.deepEqual([...ends(parent)], [4, 3, 3, 4]);
});

test("damaged bytes are refused", () => {
  const wrong = BYTES.slice(0);
  new Uint8Array(wrong)[0] = 0;
  assert.throws(() => decode(wrong), WireError);
  assert.throws(() => decode(BYTES.slice(0, BYTES.byteLength - 64)), WireError);
  assert.throws(() => decode(new ArrayBuffer(3)), WireError);
});
