/** Requests to the kernel: each has an id and gets one answer, or an error in three parts. */

import type { Said } from "./messages.ts";

export interface Failure {
  what: string;
  where: string;
  hint: string;
}

/** Lines of a plan or a report, and what says the same after `before`, where the message files know it. */
export interface Lines {
  lines: string[];
  said: ((Said & { before: string }) | null)[];
}

export interface Plan extends Lines {
  token: number;
}

/** What `peftviz/views/inspector/steps.py` says of a step. */
export interface StepEntry {
  label: string;
  operation: string;
  bytes: [before: number, after: number];
  /** How many rows by kind of change; null while nobody has looked at the step. */
  counts: Record<string, number> | null;
  leftovers: number;
  faults: number;
  /** In seconds; 0 in an exported page. */
  duration: number;
  error: string | null;
  warnings: string[];
  /** Whether findings are judged against the first state. */
  judged: boolean;
}

export interface View {
  index: number;
  base: number;
  title: string;
  lines: string[];
}

/** What anywidget hands over; an exported page has none of it. */
export interface HostModel {
  get(name: string): unknown;
  on(event: string, call: (...values: never[]) => void): void;
  off(event: string, call: (...values: never[]) => void): void;
  send(content: unknown): void;
}

/** As anywidget hands it to a view, which may also change what both sides know. */
export interface WidgetModel extends HostModel {
  set(name: string, value: unknown): void;
  save_changes(): void;
}

export interface Answer {
  content: Record<string, unknown>;
  buffers: DataView[];
}

interface Pending {
  resolve(answer: Answer): void;
  lost(): void;
  failed(failure: Failure): void;
}

export class RequestError extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.what);
    this.failure = failure;
  }
}

export class Kernel {
  readonly #model: HostModel;
  readonly #connected: () => boolean;
  readonly #pending = new Map<string, Pending>();
  readonly #prefix = Math.random().toString(36).slice(2); // views of one widget share its messages
  #count = 0;
  readonly #listen = (content: Record<string, unknown>, buffers: DataView[]): void => this.#answer(content, buffers ?? []);
  /** The kernel died or was started anew: nobody is left to answer. */
  readonly #lost = (): void => {
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { lost } of waiting) lost();
  };

  /**
   * `connected` tells whether the widget has had a kernel at all: a saved notebook that is opened again has none, and
   * what is sent from there is dropped without a word.
   */
  constructor(model: HostModel, connected: () => boolean) {
    this.#model = model;
    this.#connected = connected;
    model.on("msg:custom", this.#listen as never);
    model.on("comm_live_update", this.#lost as never);
  }

  ask(request: Record<string, unknown>, noKernel: Failure): Promise<Answer> {
    const id = `${this.#prefix}-${++this.#count}`;
    return new Promise((resolve, reject) => {
      const failed = (failure: Failure): void => reject(new RequestError(failure));
      const lost = (): void => failed(noKernel);
      if (!this.#connected()) return lost();
      this.#pending.set(id, { resolve, lost, failed });
      try {
        this.#model.send({ id, ...request });
      } catch {
        this.#pending.delete(id);
        lost();
      }
    });
  }

  close(): void {
    this.#model.off("msg:custom", this.#listen as never);
    this.#model.off("comm_live_update", this.#lost as never);
    this.#pending.clear();
  }

  #answer(content: Record<string, unknown>, buffers: DataView[]): void {
    const waiting = this.#pending.get(String(content.id));
    if (!waiting) return;
    this.#pending.delete(String(content.id));
    if (content.error) waiting.failed(content.error as Failure);
    else waiting.resolve({ content, buffers });
  }
}
