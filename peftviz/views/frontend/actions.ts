/** What the reader can do to the model: each action shows its plan first and is done once. */

import type { Desk } from "./desk.ts";
import type { Outcome } from "./dialog.ts";
import { button } from "./dom.ts";
import { exportMenu } from "./export.ts";
import { visible } from "./format.ts";
import type { Plan } from "./kernel.ts";
import { type Deed, deeds } from "./menu.ts";
import { say } from "./messages.ts";

/** The actions that this widget offers; a missing one has no button. */
export interface Actions {
  remove?(adapter: string): void;
  repair?(): void;
  /** Buttons for the toolbar. */
  readonly buttons: readonly HTMLElement[];
}

export function actionsOf(desk: Desk): Actions {
  const { ask, offers } = desk.outside;
  if (!ask) return { buttons: [exportMenu(desk)] };
  const offered = (...names: string[]): boolean => names.every((name) => offers.includes(name));

  const planned = (title: string, confirm: string, what: Record<string, unknown>): Promise<string> => {
    void desk.dialog.run({
      title,
      confirm,
      plan: async () => (await ask({ ask: "plan", ...what })).content as unknown as Plan,
      apply: async (token) => (await ask({ ask: "apply", token })).content as unknown as Outcome,
    });
    return Promise.resolve(""); // the dialog says what becomes of it
  };
  const remove = (adapter: string): Promise<string> => planned(say("planFor", { adapter }), say("apply"), { do: "delete", adapter });
  const repair = (): Promise<string> => planned(say("planRepair"), say("applyRepair"), { do: "repair" });

  const buttons: HTMLElement[] = [];
  if (offered("plan_operation")) buttons.push(deeds(say("adapters"), () => adapterDeeds(desk, offered, planned, remove), (error) => desk.fail(error)));
  buttons.push(exportMenu(desk));
  if (offered("capture")) buttons.push(button(say("capture"), "plain", () => void ask({ ask: "capture" }).catch((error) => desk.fail(error))));
  return {
    remove: offered("delete", "plan") ? (adapter) => void remove(adapter) : undefined,
    repair: offered("repair") ? () => void repair() : undefined,
    buttons,
  };
}

type Planned = (title: string, confirm: string, what: Record<string, unknown>) => Promise<string>;

/** What can be done to the adapters of the state on show; the plan itself looks at the model as it is now. */
function adapterDeeds(desk: Desk, offered: (...names: string[]) => boolean, planned: Planned, remove: (adapter: string) => Promise<string>): Deed[] {
  const { summary } = desk.model.table;
  const facts = summary.adapter_facts[1];
  const merged = facts.some((adapter) => adapter.merged);
  const entries: Deed[] = [];
  const offer = (operation: string, text: string, confirm: string, adapters?: string[]): void => {
    if (offered(operation)) entries.push({ text, act: () => planned(text, confirm, { do: operation, adapters }) });
  };
  for (const { name, active } of facts) {
    const adapter = visible(name, 40);
    if (!active && !merged) offer("set_adapter", say("setActive", { adapter }), say("applyActive"), [name]);
    if (!facts.find((other) => other.name === name)!.merged && summary.enabled[1]) offer("merge_adapter", say("merge", { adapter }), say("applyMerge"), [name]);
    if (offered("delete", "plan")) entries.push({ text: say("deleteAdapter", { adapter }), act: () => remove(name) });
  }
  if (merged) offer("unmerge_adapter", say("unmerge"), say("applyUnmerge"));
  if (facts.length && summary.enabled[1] && !merged) offer("disable_adapters", say("disable"), say("applyDisable"));
  if (facts.length && !summary.enabled[1]) offer("enable_adapters", say("enable"), say("applyEnable"));
  if (facts.length) offer("unload", say("unload"), say("applyUnload"));
  if (facts.some(({ active }) => active)) offer("merge_and_unload", say("mergeAndUnload"), say("applyUnload"));
  return entries.length ? entries : [{ text: say("noAdapters"), act: () => Promise.resolve("") }];
}
