/** The way from the model down to the selected row, each part of it a button. */

import type { Desk } from "./desk.ts";
import { button, element } from "./dom.ts";
import { visible } from "./format.ts";
import { say } from "./messages.ts";

const LONGEST = 28;

export class Breadcrumbs {
  readonly root: HTMLElement;
  readonly #list = element("ol", {});
  readonly #desk: Desk;

  constructor(desk: Desk) {
    this.#desk = desk;
    this.root = element("nav", { class: "crumbs", "aria-label": say("breadcrumbs") }, this.#list);
  }

  show(row: number): void {
    const { model } = this.#desk;
    const rows: number[] = [];
    for (let at = Math.max(0, row); at >= 0; at = model.parent[at]) rows.push(at);
    this.#list.replaceChildren(
      ...rows.reverse().map((at) => {
        const crumb = button(visible(model.text("label", at), LONGEST), "crumb", () => this.#desk.reveal(at, true));
        if (at === row) crumb.setAttribute("aria-current", "location");
        return element("li", {}, crumb);
      }),
    );
    this.root.scrollLeft = this.root.scrollWidth;
  }
}
