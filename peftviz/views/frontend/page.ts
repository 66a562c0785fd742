/** The exported page: the tables lie in the page itself, and nothing is asked of anyone. */

import { App } from "./app.ts";
import type { StepEntry, View } from "./kernel.ts";
import { type Catalogs, say, speak } from "./messages.ts";
import { mount } from "./mount.ts";
import { read } from "./wire.ts";

interface Page {
  steps: StepEntry[];
  views: View[];
  start: number;
  texts: Catalogs;
  style: string;
}

/** Starts in a page that says it is one of ours; a notebook never does. */
export async function startPage(): Promise<void> {
  const place = document.getElementById("peftviz-page");
  if (!place || document.documentElement.dataset.peftviz !== "page") return;
  const page = JSON.parse(document.getElementById("peftviz-steps")!.textContent!) as Page;
  place.replaceChildren();
  document.documentElement.lang = speak(page.texts);
  let turn = 0;
  const viewOf = (index: number, base: number): number => page.views.findIndex((view) => view.index === index && view.base === base);
  const app: App = new App({
    offers: [],
    available: (index, base) => viewOf(index, base) >= 0,
    jump: (index, base) => void open(viewOf(index, base), index),
  });
  mount(place, app, page.style, true);
  await open(page.start, 0);

  async function open(at: number, index: number): Promise<void> {
    const mine = ++turn;
    const found = at >= 0 ? at : page.views.findIndex((view) => view.index === index);
    try {
      const text = document.getElementById(`peftviz-table-${found}`)!.textContent!;
      const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
      const table = await read(packed);
      if (mine === turn) app.show(table, page.steps, page.views[found]);
    } catch {
      app.fail({ what: say("damaged"), where: "", hint: say("damagedHint") });
    }
  }
}
