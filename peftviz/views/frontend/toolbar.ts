/** The toolbar: the filter, what is left out, and the way from change to change. */

import type { Desk, Tab } from "./desk.ts";
import { button, element, toggle } from "./dom.ts";
import { say } from "./messages.ts";
import type { TreeModel } from "./model.ts";

/** Milliseconds that the filter waits for the next letter: it goes over a million rows in about as many. */
const WAIT = 40;

/** What the buttons do besides changing the model. */
export interface Steering {
  step(direction: 1 | -1): void;
  setSplit(on: boolean): void;
  /** Goes from the filter into the rows. */
  enterRows(): void;
}

export class Toolbar {
  readonly root = element("div", { class: "tools", role: "toolbar", "aria-label": say("tools") });
  readonly #desk: Desk;
  readonly #filter = element("input", { type: "search", placeholder: say("filter"), "aria-label": say("filterLabel") });
  readonly #counter = element("span", { class: "counter", role: "status" });
  readonly #changes: HTMLButtonElement;
  readonly #fold: HTMLButtonElement;
  readonly #split: HTMLButtonElement;
  readonly #own = element("span", { class: "own" });
  readonly #steps: HTMLElement;
  #timer = 0;
  #tab: Tab | null = null;
  /** What the reader chose; null while each state shows itself at its best. */
  #wantsChanges: boolean | null = null;

  constructor(desk: Desk, steering: Steering) {
    this.#desk = desk;
    this.#changes = toggle(say("onlyChanges"), false, (on) => {
      this.#wantsChanges = on;
      desk.change((model) => model.setOnlyChanges(on));
    });
    this.#fold = toggle(say("fold"), true, (on) => desk.change((model) => model.setFold(on)));
    this.#split = toggle(say("sideBySide"), false, (on) => steering.setSplit(on));
    this.#filter.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => {
        this.#timer = 0;
        desk.change((model) => model.setFilter(this.#filter.value));
      }, WAIT);
    });
    this.#filter.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") steering.enterRows();
      else if (event.key === "Escape" && this.#filter.value) this.#filter.value = "";
      else return;
      event.preventDefault();
      this.#filter.dispatchEvent(new Event("input"));
    });
    const previous = button(say("previous"), "plain", () => steering.step(-1));
    previous.ariaLabel = say("previousChange");
    const next = button(say("next"), "plain", () => steering.step(1));
    next.ariaLabel = say("nextChange");
    this.#steps = element("span", { class: "own" }, previous, next);
    this.root.append(this.#filter, this.#changes, this.#fold, this.#split, this.#own, this.#counter, this.#steps);
  }

  /** Gives another state the filter and the switches that the reader has chosen. */
  apply(model: TreeModel): void {
    if (this.#filter.value) model.setFilter(this.#filter.value);
    model.setContext(this.#desk.model?.context ?? model.context);
    model.setFold(this.#fold.ariaPressed === "true");
    if (this.#wantsChanges !== null && !model.table.summary.single) model.setOnlyChanges(this.#wantsChanges && model.hasChanges);
  }

  /** Switches a switch, where it applies. */
  toggle(which: "onlyChanges" | "fold" | "sideBySide"): void {
    const made = { onlyChanges: this.#changes, fold: this.#fold, sideBySide: this.#split }[which];
    if (!made.hidden) made.click();
  }

  focusFilter(): void {
    this.#filter.focus();
  }

  /** Shows what applies to the tab at the front, and the switches as they are. */
  update(tab: Tab): void {
    const { model } = this.#desk;
    const tree = tab.rows === "tree";
    this.root.hidden = !tab.rows && !tab.tools?.length;
    this.#filter.hidden = !tab.rows;
    this.#steps.hidden = !tab.rows || !model.hasChanges;
    this.#changes.hidden = !tab.rows || tab.id === "memory" || !model.hasChanges;
    this.#fold.hidden = !tree;
    this.#split.hidden = !tree || model.table.summary.single;
    this.#changes.ariaPressed = String(model.onlyChanges);
    this.#fold.ariaPressed = String(model.fold);
    if (!this.#timer) this.#filter.value = model.filter; // a row that was looked for may have ended the filter
    if (this.#tab !== tab) this.#own.replaceChildren(...(tab.tools ?? [])); // not at each update: an open menu would lose the focus
    this.#tab = tab;
    const counted = tab.counted?.();
    this.#counter.hidden = !counted;
    this.#counter.textContent = counted ? say("rows", { shown: counted[0], count: counted[1] }) : "";
  }

  destroy(): void {
    clearTimeout(this.#timer);
  }
}
