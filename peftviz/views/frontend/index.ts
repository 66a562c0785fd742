/** The one ES module: `render` for anywidget, and the start of an exported page. */

import { App } from "./app.ts";
import type { Outside } from "./desk.ts";
import { type Answer, Kernel, type StepEntry, type View, type WidgetModel } from "./kernel.ts";
import { type Catalogs, say, speak } from "./messages.ts";
import { mount } from "./mount.ts";
import { startPage } from "./page.ts";
import { type Table, read } from "./wire.ts";

const REMEMBERED = 12;

function render({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
  const kernel = new Kernel(model, () => !el.closest(".jupyter-widgets-disconnected"));
  const states = new Map<string, Table>();
  let turn = 0;

  const steps = (): StepEntry[] => (model.get("_steps") ?? []) as StepEntry[];
  const ask = (request: Record<string, unknown>): Promise<Answer> =>
    kernel.ask(request, { what: say("noKernel"), where: "", hint: say("noKernelHint") });
  const outside: Outside = {
    offers: (model.get("_offers") ?? []) as string[],
    jump: (index, base) => void jump(index, base),
    setBaseline: (base) => tell("_baseline", base),
    setSelection: (paths, { index, base }) => tell("_selection", { paths, index, base }),
    ask,
  };
  /** Tells the kernel, if there is one, what the reader has done. */
  function tell(name: string, value: unknown): void {
    model.set(name, value);
    model.save_changes();
  }

  let [app, unmount] = start();

  function start(): [App, () => void] {
    const language = speak(model.get("_texts") as Catalogs);
    const made = new App(outside);
    made.root.lang = language;
    made.setBaseline(model.get("_baseline") as number);
    return [made, mount(el, made, model.get("_style") as string, false)];
  }

  function startAgain(): void {
    unmount();
    [app, unmount] = start();
    void current();
  }

  async function jump(index: number, base: number): Promise<void> {
    const mine = ++turn;
    const key = `${index} ${base}`;
    try {
      let table = states.get(key);
      let view: View = { index, base, title: steps()[index]?.label ?? "", lines: [] };
      if (!table) {
        const { content, buffers } = await ask({ ask: "state", index, base });
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
      if (mine !== turn) return;
      app.show(table, steps(), view);
      wanted();
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

  /** Selects what `inspector.select` asked for last, once. */
  let answered = 0;
  function wanted(): void {
    const { paths, turn: asked = 0 } = model.get("_wanted") as { paths?: string[]; turn?: number };
    if (asked === answered || !paths) return;
    answered = asked;
    app.find(paths);
  }

  const baseline = (): void => app.setBaseline(model.get("_baseline") as number);

  let queued = false;
  const changed = (): void => {
    if (queued) return; // one message sets several traits
    queued = true;
    queueMicrotask(() => {
      queued = false;
      void current();
    });
  };
  const heard = Object.entries({ table: changed, steps: changed, shown: changed, texts: startAgain, wanted, baseline });
  for (const [name, call] of heard) model.on(`change:_${name}`, call);
  void current();
  return () => {
    for (const [name, call] of heard) model.off(`change:_${name}`, call);
    kernel.close();
    unmount();
  };
}

void startPage();

export default { render };
