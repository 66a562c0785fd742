/** The row of tabs, and the panel of the one at the front. */

import type { Tab, TabId } from "./desk.ts";
import { arrowStep, button, element } from "./dom.ts";
import { say } from "./messages.ts";

export class Tabs {
  readonly bar = element("div", { class: "tabs", role: "tablist", "aria-label": say("views") });
  readonly panel = element("div", { class: "panel", role: "tabpanel" });
  readonly #tabs: readonly Tab[];
  readonly #opened: () => void;
  #front: Tab;

  constructor(tabs: readonly Tab[], opened: () => void) {
    this.#tabs = tabs;
    this.#front = tabs[0];
    this.#opened = opened;
  }

  get front(): Tab {
    return this.#front;
  }

  open(id: TabId): void {
    this.#front = this.#tabs.find((tab) => tab.id === id) ?? this.#front;
    const { rows } = this.#front;
    const focus = this.bar.matches(":focus-within");
    this.bar.replaceChildren(...this.#tabs.map((tab) => this.#button(tab)));
    if (focus) this.bar.querySelector<HTMLElement>("[aria-selected=true]")!.focus();
    this.panel.className = `panel ${this.#front.id}`;
    this.panel.ariaLabel = say(`tab.${this.#front.id}`);
    this.panel.tabIndex = rows ? -1 : 0; // scrolls, and may hold nothing that takes the focus
    this.#front.open(this.panel);
    this.#opened();
  }

  destroy(): void {
    for (const tab of this.#tabs) tab.destroy?.();
  }

  #button(tab: Tab): HTMLElement {
    const current = tab === this.#front;
    const made = button(say(`tab.${tab.id}`), "tab", () => this.open(tab.id));
    made.role = "tab";
    made.ariaSelected = String(current);
    made.tabIndex = current ? 0 : -1;
    const badge = tab.badge?.();
    if (badge) made.append(badge);
    made.addEventListener("keydown", (event) => {
      const move = arrowStep(event);
      if (!move) return;
      const at = this.#tabs.indexOf(tab) + move + this.#tabs.length;
      this.open(this.#tabs[at % this.#tabs.length].id);
      event.preventDefault();
    });
    return made;
  }
}
