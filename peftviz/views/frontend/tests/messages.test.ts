import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type Catalogs, say, speak } from "../messages.ts";
import { remark } from "../notes.ts";

const read = (language: string) => JSON.parse(readFileSync(join(process.cwd(), `../messages/${language}.json`), "utf8"));
const catalogs: Catalogs = { en: read("en"), zh: read("zh") };

test("the first language that the reader prefers and that is there", () => {
  assert.equal(speak(catalogs, ["fr-FR", "zh-Hans-CN", "en"]), "zh");
  assert.equal(say("tab.structure"), "结构");
  assert.equal(speak(catalogs, ["fr"]), "en");
  assert.equal(speak({ zh: catalogs.zh }, ["en-US"]), "zh", "a language that was set needs no consent");
});

test("plural forms, grouped numbers, and texts put in as they are", () => {
  speak(catalogs, ["en"]);
  assert.equal(say("leftovers", { count: 1 }), "1 leftover");
  assert.equal(say("leftovers", { count: 1200 }), "1,200 leftovers");
  assert.equal(say("was", { path: "{count} $& {path}" }), "was {count} $& {path}");
  speak(catalogs, ["zh"]);
  assert.equal(say("leftovers", { count: 1 }), "1 处残留");
});

test("remarks in the reader's language, with the names as they are", () => {
  speak(catalogs, ["en"]);
  for (const text of ["active", "not in the state dict", "alias of a.b", "shared with a.b", "shared with a and 2 more and 3 more", "something new"]) {
    assert.equal(remark(text), text);
  }
  speak(catalogs, ["zh"]);
  assert.equal(remark("shared with a.b and 3 more"), "与 a.b 及另外 3 个共享");
  assert.equal(remark("alias of a\nb"), "a\\nb 的别名");
});
