/** The one ES module: `render` for anywidget, and the start of an exported page. */

import { App, type Outside } from "./app.ts";
import type { Outcome, PlanDialog, Task } from "./dialog.ts";
import { type Failure, type HostModel, Kernel, type Plan, type StepEntry, type View } from "./kernel.ts";
import { type Catalogs, say, speak } from "./messages.ts";
import { mount } from "./mount.ts";
import { startPage } from "./page.ts";
import { type Table, read } from "./wire.ts";

const REMEMBERED = 12;

function render({ model, el }: { model: HostModel; el: HTMLElement }): () => void {
  const kernel = new Kernel(model);
  const noKernel = (): Failure => ({ what: say("noKernel"), where: "", hint: say("noKernelHint") });
  const can = (model.get("_offers") ?? []) as string[];
  const states = new Map<string, Table>();
  let turn = 0;

  const steps = (): StepEntry[] => (model.get("_steps") ?? []) as StepEntry[];
  const outside: Outside = {
    jump: (index, base) => void jump(index, base),
    remove: can.includes("delete") && can.includes("plan") ? (dialog, adapter) => act(dialog, say("planFor", { adapter }), say("apply"), { do: "delete", adapter }) : undefined,
    repair: can.includes("repair") ? (dialog) => act(dialog, say("planRepair"), say("applyRepair"), { do: "repair" }) : undefined,
    capture: can.includes("capture") ? () => void kernel.ask({ ask: "capture" }, noKernel()).catch((error) => app.fail(error)) : undefined,
  };
  let [app, unmount] = start();

  function start(): [App, () => void] {
    speak(model.get("_texts") as Catalogs);
    const made = new App(outside);
    return [made, mount(el, made, model.get("_style") as string, false)];
  }

  function startAgain(): void {
    unmount();
    [app, unmount] = start();
    void current();
  }

  function act(dialog: PlanDialog, title: string, confirm: string, what: Record<string, unknown>): void {
    const task: Task = {
      title,
      confirm,
      plan: async () => (await kernel.ask({ ask: "plan", ...what }, noKernel())).content as unknown as Plan,
      apply: async (token) => (await kernel.ask({ ask: "apply", token }, noKernel())).content as unknown as Outcome,
    };
    void dialog.run(task);
  }

  async function jump(index: number, base: number): Promise<void> {
    const mine = ++turn;
    const key = `${index} ${base}`;
    try {
      let table = states.get(key);
      let view: View = { index, base, title: steps()[index]?.label ?? "", lines: [] };
      if (!table) {
        const { content, buffers } = await kernel.ask({ ask: "state", index, base }, noKernel());
        view = content.view as View;
        table = await read(buffers[0]);
        remember(key, table);
      }
      if (mine === turn) app.show(table, steps(), view);
    } catch (error) {
      if (mine === turn) app.fail(error);
    }
  }

  async function current(): Promise<void> {
    const mine = ++turn;
    const view = model.get("_shown") as View;
    const packed = model.get("_table") as DataView | null;
    if (!packed || !packed.byteLength) return;
    try {
      const table = await read(packed);
      remember(`${view.index} ${view.base}`, table);
      if (mine === turn) app.show(table, steps(), view);
    } catch {
      if (mine === turn) app.fail({ what: say("damaged"), where: "", hint: say("damagedHint") });
    }
  }

  function remember(key: string, table: Table): void {
    if (!steps().length) return;
    states.delete(key);
    states.set(key, table);
    if (states.size > REMEMBERED) states.delete(states.keys().next().value!);
  }

  let queued = false;
  const changed = (): void => {
    if (queued) return; // one message sets several traits
    queued = true;
    queueMicrotask(() => {
      queued = false;
      void current();
    });
  };
  model.on("change:_table", changed as never);
  model.on("change:_steps", changed as never);
  model.on("change:_texts", startAgain as never);
  void current();
  return () => {
    model.off("change:_table", changed as never);
    model.off("change:_steps", changed as never);
    model.off("change:_texts", startAgain as never);
    kernel.close();
    unmount();
  };
}

void startPage();

export default { render };
