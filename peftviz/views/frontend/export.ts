/** The menu of exports: made here where that can be, asked from the kernel otherwise. */

import { toCsv } from "./csv.ts";
import type { Desk } from "./desk.ts";
import type { Key } from "./messages.ts";
import { say } from "./messages.ts";
import { type Deed, deeds } from "./menu.ts";

type Kind = "markdown" | "html" | "dot" | "svg" | "png";

const TYPES: Readonly<Record<Kind | "csv", string>> = {
  markdown: "text/markdown", html: "text/html", csv: "text/csv", dot: "text/vnd.graphviz", svg: "image/svg+xml", png: "image/png",
};
const PICTURES = ["dot", "svg", "png"] as const;

export function exportMenu(desk: Desk): HTMLElement {
  return deeds(say("export"), () => {
    const entries: Deed[] = [];
    if (desk.outside.ask) {
      entries.push(entry("copyMarkdown", () => copyMarkdown(desk)), entry("saveHtml", () => save(desk, "html", 0)));
    }
    entries.push(entry("saveCsv", () => Promise.resolve(saveCsv(desk))));
    if (desk.outside.ask) {
      const row = Math.max(0, desk.selected);
      for (const kind of PICTURES) entries.push(entry(`save.${kind}`, () => save(desk, kind, row)));
    }
    return entries;
  }, (error) => desk.fail(error));
}

function entry(key: Key, act: () => Promise<string>): Deed {
  return { text: say(key), act };
}

async function fetched(desk: Desk, kind: Kind, row: number): Promise<[name: string, content: Uint8Array<ArrayBuffer>]> {
  const { index, base } = desk.view;
  const { content, buffers } = await desk.outside.ask!({ ask: "export", as: kind, index, base, row });
  const view = buffers[0];
  return [String(content.name), new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength)];
}

async function copyMarkdown(desk: Desk): Promise<string> {
  const [name, content] = await fetched(desk, "markdown", 0);
  try {
    await navigator.clipboard.writeText(new TextDecoder().decode(content));
    return say("copied");
  } catch {
    download(name, [content], TYPES.markdown); // no clipboard here: a file serves as well
    return say("saved", { name });
  }
}

async function save(desk: Desk, kind: Kind, row: number): Promise<string> {
  const [name, content] = await fetched(desk, kind, row);
  download(name, [content], TYPES[kind]);
  return say("saved", { name });
}

function saveCsv(desk: Desk): string {
  const name = "peftviz.csv";
  download(name, ["\ufeff", ...toCsv(desk.model)], TYPES.csv); // the mark tells spreadsheets that it is UTF-8
  return say("saved", { name });
}

function download(name: string, parts: BlobPart[], type: string): void {
  const address = URL.createObjectURL(new Blob(parts, { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
