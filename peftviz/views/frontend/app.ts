/** The inspector: holds the parts together. Nothing here asks the kernel for what the browser can do. */

import { type Actions, actionsOf } from "./actions.ts";
import { Breadcrumbs } from "./breadcrumbs.ts";
import type { Desk, MakeTab, Outside, TabId } from "./desk.ts";
import { detailsOf } from "./details.ts";
import { PlanDialog, failureBox, failureOf } from "./dialog.ts";
import { button, element } from "./dom.ts";
import { Findings } from "./findings.ts";
import { Graph } from "./graph.ts";
import { fillHeader } from "./header.ts";
import { Icicle } from "./icicle.ts";
import { type Command, commandOf } from "./keyboard.ts";
import type { Failure, StepEntry, View } from "./kernel.ts";
import { memoryBars } from "./memory.ts";
import { say } from "./messages.ts";
import { TreeModel } from "./model.ts";
import { Structure } from "./structure.ts";
import { Tabs } from "./tabs.ts";
import { TensorTable } from "./tensor_table.ts";
import { TimelineView } from "./timeline.ts";
import { Toolbar } from "./toolbar.ts";
import type { Table } from "./wire.ts";

/** The tabs after the tree, in their order. */
const FURTHER_TABS: readonly MakeTab[] = [
  (desk) => new TensorTable(desk, "parameters"),
  (desk) => new TensorTable(desk, "memory"),
  (desk) => new Icicle(desk),
  (desk) => new Graph(desk),
  (desk) => new Findings(desk),
];

/** So many paths are told of what is selected. */
const MOST_SELECTED = 100_000;
/** Of rows that are selected from outside, so many are brought to light. */
const MOST_REVEALED = 100;

export class App implements Desk {
  readonly root: HTMLElement;
  readonly outside: Outside;
  readonly dialog = new PlanDialog();
  readonly #header = element("div", { class: "header" });
  readonly #notice = element("div", { class: "notice" });
  readonly #details = element("div", { class: "details", role: "region", "aria-label": say("details") });
  readonly #foot = element("div", { class: "footer" });
  readonly #timeline: TimelineView;
  readonly #structure: Structure;
  readonly #tabs: Tabs;
  readonly #toolbar: Toolbar;
  readonly #actions: Actions;
  readonly #crumbs = new Breadcrumbs(this);
  #model: TreeModel | null = null;
  #width = 0;
  readonly #observer = new ResizeObserver(() => this.#resized());
  view: View = { index: 0, base: 0, title: "", lines: [] };
  steps: StepEntry[] = [];
  selected = -1;
  chosen: ReadonlySet<number> = new Set();

  constructor(outside: Outside) {
    this.outside = outside;
    this.#actions = actionsOf(this);
    this.#timeline = new TimelineView(this);
    this.#structure = new Structure(this);
    this.#tabs = new Tabs([this.#structure, ...FURTHER_TABS.map((make) => make(this))], () => this.#update());
    const steering = {
      step: (direction: 1 | -1) => this.#toChange(direction),
      setSplit: (on: boolean) => {
        this.#structure.split = on;
        this.#tabs.open("structure");
      },
      enterRows: () => this.#tabs.front.enter?.(),
    };
    this.#toolbar = new Toolbar(this, steering);
    const help = button("?", "plain", () => this.dialog.help());
    help.ariaLabel = say("help");
    const bar = element("div", { class: "bar-of-tabs" }, this.#tabs.bar, element("div", { class: "acts" }, ...this.#actions.buttons, help));
    const main = element("div", { class: "main" }, bar, this.#toolbar.root, this.#tabs.panel, this.#crumbs.root);
    this.root = element(
      "div", { class: "peftviz", role: "region", "aria-label": say("inspector") },
      this.#header, this.#notice, element("div", { class: "middle" }, this.#timeline.root, main, this.#details), this.#foot, this.dialog.root,
    );
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.#observer.observe(this.root);
  }

  /** The state on show; parts are asked for nothing before there is one. */
  get model(): TreeModel {
    return this.#model!;
  }

  /** Shows a state. */
  show(table: Table, steps: StepEntry[], view: View): void {
    const model = new TreeModel(table);
    const focus = this.#tabs.panel.contains((this.root.getRootNode() as ShadowRoot).activeElement); // its rows are made anew
    this.#model = model;
    this.view = view;
    this.steps = steps;
    this.selected = -1;
    this.chosen = new Set();
    this.#notice.replaceChildren();
    if (view.lines.length) this.#notice.append(element("pre", {}, view.lines.join("\n")));
    this.#toolbar.apply(model);
    fillHeader(this.#header, this, () => this.openTab("findings"));
    this.#timeline.show(steps, view);
    this.#foot.replaceChildren(memoryBars(table, view.title));
    this.#tabs.open(this.#tabs.front.id);
    const worst = model.worstRow();
    if (worst >= 0) this.reveal(worst, false);
    else this.#showDetails();
    if (focus) this.#tabs.front.enter?.();
  }

  select(row: number): void {
    this.selectAll(row < 0 ? [] : [row]);
  }

  selectAll(rows: readonly number[], lead = rows[0] ?? -1): void {
    this.selected = lead;
    this.chosen = new Set(rows);
    this.#tabs.front.select?.(lead);
    this.#showDetails();
    const told: string[] = [];
    for (const row of rows) {
      if (told.length >= MOST_SELECTED) break;
      for (const member of this.model.membersOf(row)) told.push(this.model.path(member));
    }
    this.outside.setSelection?.(told, this.view);
  }

  /** Selects the rows of paths from outside; what the other side has checked is there. */
  find(paths: readonly string[]): void {
    const model = this.#model;
    if (!model) return;
    const rows = paths.map((path) => model.rowAt(path)).filter((row) => row >= 0);
    for (const row of rows.slice(1, MOST_REVEALED)) model.reveal(row);
    if (rows.length) this.reveal(rows[0], false);
    if (rows.length !== 1) this.selectAll(rows);
  }

  setBaseline(base: number): void {
    this.#timeline.setBaseline(base);
  }

  reveal(row: number, focus: boolean): void {
    const { front } = this.#tabs;
    this.selected = row;
    if (!front.reveal?.(row, focus) && focus) {
      this.#tabs.open("structure");
      this.#structure.reveal(row, focus);
    }
    this.select(row);
  }

  change(act: (model: TreeModel) => void): void {
    if (!this.#model) return;
    act(this.#model);
    this.#tabs.front.refresh?.();
    this.#update();
  }

  openTab(id: TabId): void {
    if (this.#model) this.#tabs.open(id);
  }

  fail(failure: unknown): void {
    this.#notice.replaceChildren(failureBox(isFailure(failure) ? failure : failureOf(failure)));
  }

  destroy(): void {
    this.#observer.disconnect();
    this.#tabs.destroy();
    this.#toolbar.destroy();
    this.#timeline.destroy();
  }

  #update(): void {
    this.#toolbar.update(this.#tabs.front);
  }

  #resized(): void {
    const width = this.root.clientWidth;
    if (!width || width === this.#width) return; // no width: hidden for a moment
    this.#width = width;
    const size = width > 1280 ? "wide" : width > 980 ? "medium" : width > 620 ? "narrow" : "tiny";
    this.root.dataset.size = size;
    if (this.#model) this.#tabs.front.resize?.();
  }

  #toChange(direction: 1 | -1): void {
    const model = this.#model!;
    if (this.#tabs.front !== this.#structure) this.#tabs.open("structure");
    const from = this.selected >= 0 ? this.selected : direction > 0 ? 0 : model.rows;
    const row = model.changeFrom(from, direction);
    if (row >= 0) this.reveal(row, true);
  }

  #toFinding(direction: 1 | -1): void {
    const row = this.#model!.findingFrom(this.selected, direction);
    if (row < 0) return;
    if (this.#tabs.front !== this.#structure) this.#tabs.open("structure");
    this.reveal(row, true);
  }

  #showDetails(): void {
    const row = Math.max(0, this.selected);
    const deeds = {
      ...this.#actions,
      chosen: [...this.chosen],
      select: (other: number) => this.reveal(other, true),
      jump: (step: number) => this.outside.jump(step, step - 1),
    };
    this.#details.replaceChildren(...detailsOf(this.#model!, row, this.steps, deeds));
    this.#details.scrollTop = 0;
    this.#crumbs.show(row);
  }

  #key(event: KeyboardEvent): void {
    event.stopPropagation(); // the notebook has shortcuts of its own
    const command = this.#model && !this.dialog.root.open ? commandOf(event) : undefined;
    if (!command) return;
    this.#commands[command]();
    event.preventDefault();
  }

  readonly #commands: Readonly<Record<Command, () => void>> = {
    nextChange: () => this.#toChange(1),
    previousChange: () => this.#toChange(-1),
    nextFinding: () => this.#toFinding(1),
    previousFinding: () => this.#toFinding(-1),
    nextStep: () => this.#timeline.step(1),
    previousStep: () => this.#timeline.step(-1),
    baseline: () => this.#timeline.toggleBaseline(),
    copyPath: () => this.#press(".copy-path"),
    copyPython: () => this.#press(".copy-python"),
    onlyChanges: () => this.#toolbar.toggle("onlyChanges"),
    fold: () => this.#toolbar.toggle("fold"),
    sideBySide: () => this.#toolbar.toggle("sideBySide"),
    filter: () => this.#toolbar.focusFilter(),
    help: () => this.dialog.help(),
  };

  #press(selector: string): void {
    this.#details.querySelector<HTMLElement>(selector)?.click();
  }
}

function isFailure(value: unknown): value is Failure {
  return typeof value === "object" && value !== null && "what" in value;
}
