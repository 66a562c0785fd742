/** What the reader can do to the model: each action shows its plan first and is done once. */

import type { Desk } from "./desk.ts";
import type { Outcome } from "./dialog.ts";
import { button } from "./dom.ts";
import type { Plan } from "./kernel.ts";
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
  if (!ask) return { buttons: [] };

  const planned = (title: string, confirm: string, what: Record<string, unknown>): void =>
    void desk.dialog.run({
      title,
      confirm,
      plan: async () => (await ask({ ask: "plan", ...what })).content as unknown as Plan,
      apply: async (token) => (await ask({ ask: "apply", token })).content as unknown as Outcome,
    });

  return {
    remove: offers.includes("delete") && offers.includes("plan")
      ? (adapter) => planned(say("planFor", { adapter }), say("apply"), { do: "delete", adapter })
      : undefined,
    repair: offers.includes("repair") ? () => planned(say("planRepair"), say("applyRepair"), { do: "repair" }) : undefined,
    buttons: offers.includes("capture")
      ? [button(say("capture"), "plain", () => void ask({ ask: "capture" }).catch((error) => desk.fail(error)))]
      : [],
  };
}
