/** What the parts of the inspector and the whole of it know of each other. */

import type { PlanDialog } from "./dialog.ts";
import type { Answer, StepEntry, View } from "./kernel.ts";
import type { Key } from "./messages.ts";
import type { TreeModel } from "./model.ts";

/** A tab's name; its title is the text `tab.NAME`. */
export type TabId = Key extends infer Name ? (Name extends `tab.${infer Id}` ? Id : never) : never;

/** What lies outside: the kernel, as far as there is one. */
export interface Outside {
  /** What the session offers to do, by name: `delete`, `repair`, `capture`, … */
  readonly offers: readonly string[];
  /** Whether a comparison can be shown; any can where this is missing. */
  available?(index: number, base: number): boolean;
  /** Takes note of the state that all others are compared with, -1 for the step before each. */
  setBaseline?(base: number): void;
  /** Takes note of what is selected in the comparison on show. */
  setSelection?(paths: readonly string[], view: View): void;
  /** Shows another state; the app is told by `show`. */
  jump(index: number, base: number): void;
  /** Asks the kernel; fails with a `RequestError`. A page without a kernel has none. */
  ask?(request: Record<string, unknown>): Promise<Answer>;
}

/** What a part may read and ask for. */
export interface Desk {
  readonly model: TreeModel;
  readonly view: View;
  readonly steps: StepEntry[];
  /** The row that the details are about, -1 for none. */
  readonly selected: number;
  /** All rows that are selected. */
  readonly chosen: ReadonlySet<number>;
  readonly outside: Outside;
  readonly dialog: PlanDialog;
  /** Selects a row alone, in every part that shows it. */
  select(row: number): void;
  /** Selects rows; the details are about one of them, by default the first. */
  selectAll(rows: readonly number[], lead?: number): void;
  /** Selects a row and brings it to light in the tab at the front, or in the tree where that tab has no rows. */
  reveal(row: number, focus: boolean): void;
  /** Changes what is open, filtered, folded or sorted, and draws again. */
  change(act: (model: TreeModel) => void): void;
  openTab(id: TabId): void;
  /** Says in the widget what went wrong. */
  fail(failure: unknown): void;
}

/** One of the views of a state. Made once a widget; told of what changes while it is at the front. */
export interface Tab {
  readonly id: TabId;
  /** Of the filter and the buttons for rows, what applies; none are shown without. */
  readonly rows?: "tree" | "table";
  /** Further controls of its own, shown in the toolbar. */
  readonly tools?: readonly HTMLElement[];
  /** What follows the title, as a count. */
  badge?(): Node | null;
  /** Comes to the front, or another state is on show while it is there. */
  open(panel: HTMLElement): void;
  /** Filters, folding or open rows have changed. */
  refresh?(): void;
  /** The width of the widget has changed. */
  resize?(): void;
  /** Other rows are selected; the details are about `row`, -1 for none. */
  select?(row: number): void;
  /** Brings a row to light and returns whether it can; the tree does it otherwise. */
  reveal?(row: number, focus: boolean): boolean;
  /** Puts the focus into the rows. */
  enter?(): void;
  /** Numbers for the counter: rows shown, and all. */
  counted?(): readonly [shown: number, all: number];
  destroy?(): void;
}

export type MakeTab = (desk: Desk) => Tab;
