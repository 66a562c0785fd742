import assert from "node:assert/strict";
import test from "node:test";
import { type Failure, type HostModel, Kernel, RequestError } from "../kernel.ts";

const NO_KERNEL: Failure = { what: "no kernel", where: "", hint: "" };

/** Stands for the widget's model: keeps what is sent, and lets a test raise the events that Jupyter raises. */
class Host implements HostModel {
  readonly sent: Record<string, unknown>[] = [];
  readonly #calls = new Map<string, Set<(...values: unknown[]) => void>>();
  broken = false;
  get(): unknown {
    return undefined;
  }
  on(event: string, call: (...values: never[]) => void): void {
    this.#calls.set(event, (this.#calls.get(event) ?? new Set()).add(call as never));
  }
  off(event: string, call: (...values: never[]) => void): void {
    this.#calls.get(event)?.delete(call as never);
  }
  send(content: unknown): void {
    if (this.broken) throw new Error("Cannot send");
    this.sent.push(content as Record<string, unknown>);
  }
  raise(event: string, ...values: unknown[]): void {
    for (const call of [...(this.#calls.get(event) ?? [])]) call(...values);
  }
}

const failure = (what: string) => (error: unknown) => error instanceof RequestError && error.failure.what === what;

test("each question gets its own answer, whatever the order", async () => {
  const host = new Host();
  const kernel = new Kernel(host, () => true);
  const first = kernel.ask({ ask: "state" }, NO_KERNEL);
  const second = kernel.ask({ ask: "plan" }, NO_KERNEL);
  const [one, two] = host.sent;
  assert.notEqual(one.id, two.id);
  host.raise("msg:custom", { id: two.id, token: 2 }, []);
  host.raise("msg:custom", { id: one.id, error: { what: "unknown", where: "", hint: "" } });
  assert.equal((await second).content.token, 2);
  await assert.rejects(first, failure("unknown"));
});

test("two views of one widget do not take each other's answers", async () => {
  const host = new Host();
  const views = [new Kernel(host, () => true), new Kernel(host, () => true)];
  const asked = views.map((kernel) => kernel.ask({ ask: "plan" }, NO_KERNEL));
  host.raise("msg:custom", { id: host.sent[1].id, token: 2 }, []);
  host.raise("msg:custom", { id: host.sent[0].id, token: 1 }, []);
  assert.deepEqual((await Promise.all(asked)).map(({ content }) => content.token), [1, 2]);
});

test("a kernel that dies answers what was asked of it", async () => {
  const host = new Host();
  const kernel = new Kernel(host, () => true);
  const asked = kernel.ask({ ask: "plan" }, NO_KERNEL);
  host.raise("comm_live_update");
  await assert.rejects(asked, failure("no kernel"));
  host.broken = true;
  await assert.rejects(kernel.ask({ ask: "plan" }, NO_KERNEL), failure("no kernel"));
});

test("a widget that was never connected asks nobody", async () => {
  const host = new Host();
  await assert.rejects(new Kernel(host, () => false).ask({ ask: "plan" }, NO_KERNEL), failure("no kernel"));
  assert.deepEqual(host.sent, []);
});
