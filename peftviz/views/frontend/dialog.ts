/** Plan, confirmation, report: nothing is done before the reader has seen what. */

import { button, element } from "./dom.ts";
import { visible } from "./format.ts";
import { type Failure, type Lines, type Plan, RequestError } from "./kernel.ts";
import { SHORTCUTS } from "./keyboard.ts";
import { inWords, say } from "./messages.ts";

const SLOW = 6000;

/** What was done, and how many tensors that should be gone something still holds. */
export interface Outcome extends Lines {
  held: number;
}

export interface Task {
  title: string;
  confirm: string;
  plan(): Promise<Plan>;
  apply(token: number): Promise<Outcome>;
}

export class PlanDialog {
  readonly root: HTMLDialogElement;
  readonly #title = element("h2", { id: "plan-title" });
  readonly #body = element("div", { class: "body", "aria-live": "polite" });
  readonly #foot = element("div", { class: "foot" });
  #turn = 0;

  constructor() {
    this.root = element("dialog", { class: "plan", "aria-labelledby": "plan-title" }, this.#title, this.#body, this.#foot);
  }

  /** Asks for the plan, shows it, and acts when the reader says so; once, however often the button is pressed. */
  async run(task: Task): Promise<void> {
    const turn = ++this.#turn;
    this.#title.textContent = visible(task.title);
    if (!this.root.open) this.root.showModal();
    const plan = await this.#wait(turn, say("waiting"), task.plan());
    if (!plan) return;
    this.#show([element("p", {}, say("nothingYet")), lines(plan)]);
    const act = button(task.confirm, "danger", () => {
      if (act.disabled) return;
      act.disabled = true;
      void this.#apply(turn, task, plan);
    });
    this.#foot.replaceChildren(button(say("cancel"), "plain", () => this.root.close()), act);
    act.focus();
  }

  help(): void {
    this.#turn++;
    this.#title.textContent = say("help");
    let list = element("dl", { class: "keys" });
    const parts: HTMLElement[] = [list];
    for (const entry of SHORTCUTS) {
      if (typeof entry === "string") parts.push(element("h3", {}, say(entry)), (list = element("dl", { class: "keys" })));
      else list.append(element("dt", {}, ...entry[0].split(" ").map((key) => element("kbd", {}, key))), element("dd", {}, say(`key.${entry[1]}`)));
    }
    this.#show(parts);
    this.#foot.replaceChildren(button(say("close"), "plain", () => this.root.close()));
    if (!this.root.open) this.root.showModal();
  }

  failure(failure: Failure): void {
    this.#turn++;
    this.#title.textContent = say("failed");
    this.#fail(failure);
    if (!this.root.open) this.root.showModal();
  }

  async #apply(turn: number, task: Task, plan: Plan): Promise<void> {
    const report = await this.#wait(turn, say("working"), task.apply(plan.token));
    if (!report) return;
    this.#title.textContent = report.held ? `⚠ ${say("doneButHeld", { count: report.held })}` : `✓ ${say("done")}`;
    this.#show([lines(report)]);
    this.#closing();
  }

  async #wait<T>(turn: number, text: string, work: Promise<T>): Promise<T | null> {
    const note = element("p", { class: "waiting", role: "status" }, text);
    this.#show([note]);
    this.#foot.replaceChildren(button(say("close"), "plain", () => this.root.close()));
    const timer = setTimeout(() => note.append(element("br"), say("slow")), SLOW);
    try {
      const value = await work;
      return turn === this.#turn ? value : null;
    } catch (error) {
      if (turn === this.#turn) this.#fail(failureOf(error));
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  #fail(failure: Failure): void {
    this.#title.textContent = `✗ ${say("failed")}`;
    this.#show([failureBox(failure)]);
    this.#closing();
  }

  #closing(): void {
    const close = button(say("close"), "plain", () => this.root.close());
    this.#foot.replaceChildren(close);
    close.focus();
  }

  #show(parts: Node[]): void {
    this.#body.replaceChildren(...parts);
  }
}

export function failureOf(error: unknown): Failure {
  return error instanceof RequestError ? error.failure : { what: String(error), where: "", hint: say("noKernelHint") };
}

export function failureBox({ what, where, hint }: Failure): HTMLElement {
  return element(
    "div", { class: "failure", role: "alert" },
    element("strong", {}, visible(what, 1000)),
    where && element("p", {}, `${say("where")}: `, element("code", {}, visible(where, 400))),
    hint && element("p", {}, `${say("remedy")}: ${visible(hint, 600)}`),
  );
}

function lines({ lines: texts, said }: Lines): HTMLElement {
  const told = texts.map((text, place) => {
    const known = said[place];
    return visible(known ? known.before + inWords(text.slice(known.before.length), known) : text, 600);
  });
  return element("pre", { tabindex: "0" }, told.join("\n"));
}
