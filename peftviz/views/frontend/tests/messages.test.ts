import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { type Catalogs, inWords, say, speak } from "../messages.ts";
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

test("what the kernel wrote, where the message files know it", () => {
  const said = { name: "finding.PV101.one", values: { what: { name: "phrase.copy", values: {} }, holder: "{what} $& <b>" } };
  speak(catalogs, ["zh"]);
  assert.equal(inWords("A trained copy …", said), "{what} $& <b> 的训练副本在其适配器删除后仍然存在。");
  assert.equal(inWords("Something new.", { name: "finding.PV101.new", values: {} }), "Something new.");
  assert.equal(inWords("Something new."), "Something new.");
  speak(catalogs, ["en"]);
  assert.equal(inWords("", said), "A trained copy of {what} $& <b> outlived its adapter.");
});
