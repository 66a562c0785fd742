/** The list of operations: one state is on show, any other is a click away, and each can be what the others are compared with. */

import type { Desk } from "./desk.ts";
import { arrowStep, element } from "./dom.ts";
import { MINUS, formatBytes, formatDelta, visible } from "./format.ts";
import type { StepEntry, View } from "./kernel.ts";
import { STATUS, say } from "./messages.ts";

/** Compared with the step before. */
const PREVIOUS = -1;
/** Durations below are not worth a word, in seconds. */
const NOTABLE = 0.05;

/** Signs of operations, by a word in their names; the first that fits. */
const SIGNS: readonly (readonly [RegExp, string])[] = [
  [/^watch$/, "◉"], [/^step$/, "✎"], [/^outside$/, "?"], [/repair/, "✓"], [/delete|unload/, MINUS], [/unmerge/, "⇤"], [/merge|weighted/, "⇥"],
  [/enable|disable/, "◐"], [/set_|activate/, "→"], [/get_|add|load|inject/, "+"],
];

export class TimelineView {
  readonly root: HTMLElement;
  readonly #desk: Desk;
  readonly #list = element("ol", { class: "steps" });
  readonly #versus = element("select", { "aria-label": say("versus") });
  readonly #comparing = element("label", { class: "versus" }, `${say("versus")} `, this.#versus);
  readonly #partly = element("span", { class: "partly" }, say("notInPage"));
  /** Steps in view that nobody has compared yet. */
  readonly #unknown: IntersectionObserver;
  #steps: StepEntry[] = [];
  #shown: View = { index: 0, base: 0, title: "", lines: [] };
  /** The state that the reader asked for last, on show or on its way. */
  #wanted = 0;
  #base = PREVIOUS;
  #asking: Promise<unknown> = Promise.resolve();

  constructor(desk: Desk) {
    this.#desk = desk;
    this.#versus.addEventListener("change", () => this.#compareWith(Number(this.#versus.value)));
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    this.#unknown = new IntersectionObserver((seen) => {
      for (const { isIntersecting, target } of seen) if (isIntersecting) this.#lookAt(target as HTMLElement);
    });
    this.root = element(
      "nav", { class: "timeline", "aria-label": say("operations") },
      element("h2", {}, say("operations")), this.#list,
      this.#comparing, this.#partly,
    );
  }

  show(steps: StepEntry[], view: View): void {
    this.#shown = view;
    this.#wanted = view.index;
    this.#steps = steps;
    this.root.hidden = steps.length === 0;
    this.#comparing.hidden = steps.length < 2;
    this.#unknown.disconnect();
    const focus = this.#list.matches(":focus-within");
    this.#list.replaceChildren(...steps.map((_, index) => this.#item(index)));
    this.#fillVersus();
    const current = this.#list.children[view.index] as HTMLElement | undefined;
    if (focus) current?.querySelector("button")?.focus();
    if (current) this.#list.scrollTo({ top: current.offsetTop - 80, left: current.offsetLeft - 80 });
  }

  /** Takes the state that all others are compared with, -1 for the step before each. */
  setBaseline(base: number): void {
    this.#base = base;
    this.#fillVersus();
  }

  /** Goes to the next or the previous step. */
  step(direction: 1 | -1): void {
    const index = this.#wanted + direction;
    if (index >= 0 && index < this.#steps.length) this.#go(index);
  }

  /** Compares everything with the state on show from now on, or with the step before again. */
  toggleBaseline(): void {
    if (this.#steps.length) this.#compareWith(this.#base === this.#shown.index ? PREVIOUS : this.#shown.index);
  }

  destroy(): void {
    this.#unknown.disconnect();
  }

  #fillVersus(): void {
    const { available } = this.#desk.outside;
    const option = (base: number, text: string): HTMLOptionElement => {
      const made = new Option(text, String(base), false, base === this.#base);
      made.disabled = base !== PREVIOUS && available?.(this.#shown.index, base) === false;
      return made;
    };
    this.#partly.hidden = !this.#steps.some((_, base) => available?.(this.#shown.index, base) === false);
    this.#versus.replaceChildren(
      option(PREVIOUS, say("versusPrevious")), ...this.#steps.map(({ label }, index) => option(index, `${index} · ${visible(label, 32)}`)),
    );
  }

  #item(index: number): HTMLElement {
    const step = this.#steps[index];
    const current = index === this.#shown.index;
    const marked = step.leftovers || step.faults || step.error;
    const compared = !current && index === this.#shown.base && index !== this.#shown.index - 1;
    const made = element(
      "button", { type: "button", "aria-current": current ? "step" : undefined, class: `${marked ? "marked" : ""}${compared ? " base" : ""}` },
      element("span", { class: "sign", "aria-hidden": "true" }, SIGNS.find(([word]) => word.test(step.operation))?.[1] ?? "•"),
      element("code", {}, visible(step.label, 80)),
      element("span", { class: "notes" }, ...notes(step, index), compared && element("span", { class: "tag" }, say("compared"))),
    );
    made.addEventListener("click", () => this.#go(index));
    const item = element("li", {}, made);
    if (!step.counts && this.#desk.outside.ask) {
      item.dataset.step = String(index);
      this.#unknown.observe(item);
    }
    return item;
  }

  /** Has a step compared and judged, one after the other; a step is when it comes into view, and no sooner. */
  #lookAt(item: HTMLElement): void {
    this.#unknown.unobserve(item);
    const index = Number(item.dataset.step);
    const steps = this.#steps;
    this.#asking = this.#asking.then(async () => {
      try {
        const { content } = await this.#desk.outside.ask!({ ask: "step", index });
        steps[index] = content.step as StepEntry;
        if (item.isConnected) item.replaceWith(this.#item(index));
      } catch {
        // Without a kernel the step tells what it knows.
      }
    });
  }

  #compareWith(base: number): void {
    this.#base = base;
    this.#desk.outside.setBaseline?.(base);
    this.#fillVersus();
    this.#go(this.#wanted);
  }

  #go(index: number): void {
    this.#wanted = index;
    this.#desk.outside.jump(index, this.#base === PREVIOUS ? Math.max(0, index - 1) : this.#base);
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

/** What a step did, in signs and words. */
function notes(step: StepEntry, index: number): (Node | false)[] {
  const { counts, bytes, duration, error, warnings, leftovers, faults } = step;
  const quiet = (text: string, title?: string): Node => element("span", { title }, text);
  const told: (Node | false)[] = [];
  if (index === 0) told.push(quiet(say("stepBaseline")), quiet(formatBytes(bytes[1])));
  else if (!counts) told.push(quiet("…", say("notCompared")));
  else {
    const by = (...names: string[]): number => names.reduce((sum, name) => sum + (counts[name] ?? 0), 0);
    for (const [sign, name, count] of [
      ["+", "added", by("added")], [MINUS, "removed", by("removed")], ["~", "changed", by("changed", "moved", "replaced", "retied")],
      [STATUS[5][0], "wrapped", by("wrapped")], [STATUS[6][0], "unwrapped", by("unwrapped")],
    ] as const) {
      if (count) told.push(quiet(`${sign}${count.toLocaleString("en")}`, say(`status.${name}`)));
    }
    if (!told.length) told.push(quiet(say("unchangedStep")));
  }
  const grown = index > 0 && formatDelta(bytes[0], bytes[1], true);
  if (grown) told.push(quiet(grown));
  if (duration >= NOTABLE) told.push(quiet(say("seconds", { count: duration.toFixed(1) })));
  if (leftovers) told.push(element("strong", {}, `◆ ${say("leftovers", { count: leftovers })}`));
  if (faults) told.push(element("strong", {}, `⚠ ${say("faults", { count: faults })}`));
  if (error) told.push(element("strong", { class: "error", title: visible(error, 1000) }, `✗ ${visible(error, 120)}`));
  if (warnings.length) told.push(quiet(`! ${say("warnings", { count: warnings.length })}`, warnings.map((text) => visible(text, 400)).join("\n")));
  return told;
}
