/** The list of operations: one step is on show, any other is a click away. */

import { arrowStep, element } from "./dom.ts";
import { visible } from "./format.ts";
import type { StepEntry, View } from "./kernel.ts";
import { say } from "./messages.ts";

export class TimelineView {
  readonly root: HTMLElement;
  readonly #list = element("ol", { class: "steps" });
  readonly #versus = element("select", { "aria-label": say("versus") });
  readonly #jump: (index: number, base: number) => void;
  #shown: View = { index: 0, base: 0, title: "", lines: [] };

  constructor(jump: (index: number, base: number) => void) {
    this.#jump = jump;
    this.#versus.append(new Option(say("versusPrevious"), "previous"), new Option(say("versusBaseline"), "baseline"));
    this.#versus.addEventListener("change", () => this.#go(this.#shown.index));
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    this.root = element(
      "nav", { class: "timeline", "aria-label": say("operations") },
      element("h2", {}, say("operations")), this.#list,
      element("label", { class: "versus" }, `${say("versus")} `, this.#versus),
    );
  }

  show(steps: readonly StepEntry[], view: View): void {
    this.#shown = view;
    this.root.hidden = steps.length === 0;
    this.#list.replaceChildren(...steps.map((step, index) => this.#item(step, index)));
    this.#versus.value = view.index > 1 && view.base === 0 ? "baseline" : "previous";
    const current = this.#list.children[view.index] as HTMLElement | undefined;
    if (current) this.#list.scrollTo({ top: current.offsetTop - 80, left: current.offsetLeft - 80 });
  }

  /** Goes to the next or the previous step. */
  step(direction: 1 | -1): void {
    const index = this.#shown.index + direction;
    if (index >= 0 && index < this.#list.children.length) this.#go(index);
  }

  #item(step: StepEntry, index: number): HTMLElement {
    const current = index === this.#shown.index;
    const made = element(
      "button", { type: "button", "aria-current": current ? "step" : undefined, class: step.mark || step.error ? "marked" : "" },
      element("code", {}, visible(step.label, 80)),
      element(
        "span", { class: "notes" },
        ...step.notes.map((note) => element("span", {}, note)),
        step.mark && element("strong", {}, `◆ ${step.mark}`),
        step.error && element("strong", {}, `✗ ${visible(step.error)}`),
        step.warnings.length > 0 && element("span", { title: step.warnings.map((text) => visible(text, 400)).join("\n") }, `⚠ ${step.warnings.length}`),
      ),
    );
    made.addEventListener("click", () => this.#go(index));
    return element("li", {}, made);
  }

  #go(index: number): void {
    this.#jump(index, this.#versus.value === "baseline" ? 0 : Math.max(0, index - 1));
  }

  #key(event: KeyboardEvent): void {
    const step = arrowStep(event);
    if (!step) return;
    const buttons = [...this.#list.querySelectorAll("button")];
    const now = buttons.findIndex((item) => item.matches(":focus"));
    buttons[Math.max(0, Math.min(buttons.length - 1, now + step))]?.focus();
    event.preventDefault();
    event.stopPropagation();
  }
}
