/** The tabs with parameters and buffers: the flat table of them, and their memory in groups. */

import { type Cells, amount, columnsFor, fillCells, fillTensor, tensorText } from "./columns.ts";
import type { Desk, Tab } from "./desk.ts";
import { formatBytes, formatCount, formatDelta, visible } from "./format.ts";
import { choose } from "./menu.ts";
import { ROLES, say } from "./messages.ts";
import { RowGrid } from "./row_grid.ts";
import { GROUPINGS, type Group, type Grouping, LEFTOVER_ROLE, groupTensors, sortGroups, sortTensors, sums } from "./tensor_rows.ts";

type Kind = "parameters" | "memory";

export class TensorTable implements Tab {
  readonly id: Kind;
  readonly rows = "table";
  readonly tools: readonly HTMLElement[];
  readonly #desk: Desk;
  readonly #grid: RowGrid;
  #grouping: Grouping | "";
  #sort: string;
  #down = true;
  #groups: Group[] = [];
  /** All of them together. */
  #all: Group = { code: -1, rows: new Int32Array(0), elements: 0, before: 0, after: 0 };
  /** Names of the groups that are open. */
  #open = new Set<string>();
  /** What stands at each place: the row of a tensor, or `~` the number of a group. */
  #places: Int32Array = new Int32Array(0);
  #tensors: Int32Array = new Int32Array(0);

  constructor(desk: Desk, id: Kind) {
    this.id = id;
    this.#desk = desk;
    this.#grid = new RowGrid(desk);
    this.#grouping = id === "memory" ? "role" : "";
    this.#sort = id === "memory" ? "after" : "";
    const options = [...(id === "memory" ? [] : [["", say("ungrouped")] as const]), ...GROUPINGS.map((name) => [name, say(`by.${name}`)] as const)];
    this.tools = [
      choose<Grouping | "">(say("groupBy"), options, this.#grouping, (name) => {
        this.#grouping = name;
        this.#open.clear();
        desk.openTab(id);
      }),
      this.#grid.chooser(),
    ];
  }

  open(panel: HTMLElement): void {
    const { model } = this.#desk;
    this.#list();
    this.#grid.open(panel, {
      label: say(`tab.${this.id}`),
      role: this.#grouping ? "treegrid" : "grid",
      all: columnsFor(this.id, model.table.summary.single),
      layout: this.id,
      count: () => this.#places.length,
      text: (key, place) => this.#text(key, this.#places[place]),
      fill: (columns, row, cells, place) => this.#fill({ columns, row, cells }, this.#places[place]),
      foot: (columns, row, cells) => this.#fillSum({ columns, row, cells }, this.#all, say("total")),
      key: (event, place) => this.#key(event, place),
      select: (place) => (this.#places[place] < 0 ? this.#toggle(place) : this.#desk.select(this.#places[place])),
      toggle: (place) => this.#toggle(place),
      sort: (key) => {
        this.#down = this.#sort === key ? !this.#down : true;
        this.#sort = key;
        this.#desk.change(() => undefined);
      },
      sorted: () => [this.#sort, this.#down],
      empty: () => say(model.filter ? "noRows" : "noChange"),
      placeOf: (row) => this.#places.indexOf(row),
      rowAt: (place) => this.#places[place] ?? -1,
    });
    const place = this.#placeNear(this.#desk.selected);
    if (place >= 0) this.#grid.go(place, false, true);
  }

  refresh(): void {
    this.#list();
    this.#grid.refresh();
  }

  resize(): void {
    this.#grid.resize();
  }

  select(): void {
    this.#grid.showSelected();
  }

  reveal(row: number, focus: boolean): boolean {
    const holder = this.#groups.find((group) => group.rows.includes(row));
    if (holder && !this.#open.has(this.#name(holder))) {
      this.#open.add(this.#name(holder));
      this.#desk.change(() => undefined);
    }
    const place = this.#places.indexOf(row);
    if (place >= 0) this.#grid.go(place, focus, true);
    return place >= 0;
  }

  enter(): void {
    this.#grid.enter();
  }

  counted(): readonly [number, number] {
    return [this.#tensors.length, this.#desk.model.tensors.length];
  }

  destroy(): void {
    this.#grid.destroy();
  }

  /** Makes the list of places anew: what passes the filters, sorted, in groups. */
  #list(): void {
    const { model } = this.#desk;
    const all = this.id === "memory"; // sums over what changed alone would be no one's memory
    this.#tensors = model.tensors.filter((row) => model.passes(row, all));
    this.#all = { code: -1, rows: this.#tensors, ...sums(model, this.#tensors) };
    if (!this.#grouping) {
      this.#groups = [];
      this.#places = this.#sort ? sortTensors(model, this.#tensors, this.#sort, this.#down) : this.#tensors;
      return;
    }
    this.#groups = sortGroups(groupTensors(model, this.#tensors, this.#grouping), this.#sort, this.#down, (group) => this.#name(group));
    const places: number[] = [];
    this.#groups.forEach((group, number) => {
      places.push(~number);
      if (!this.#open.has(this.#name(group))) return;
      for (const row of this.#sort ? sortTensors(model, group.rows, this.#sort, this.#down) : group.rows) places.push(row);
    });
    this.#places = Int32Array.from(places);
  }

  /** Where a row stands, or the first tensor inside it, or the group that holds one. */
  #placeNear(row: number): number {
    if (row < 0) return -1;
    const end = this.#desk.model.end[row];
    const inside = (at: number): boolean => at >= row && at < end;
    const place = this.#places.findIndex(inside);
    return place >= 0 ? place : this.#places.indexOf(~this.#groups.findIndex(({ rows }) => rows.some(inside)));
  }

  #name({ code }: Group): string {
    const { model } = this.#desk;
    if (this.#grouping === "role") return code === LEFTOVER_ROLE ? `◆ ${say("leftover")}` : say(`role.${ROLES[code]}`);
    if (this.#grouping === "layer") return code ? visible(model.path(code)) : say("outsideLayers");
    return visible(model.table.strings[code]) || say("none");
  }

  #text(key: string, at: number | undefined): string | number {
    if (at !== undefined && at >= 0) return tensorText(this.#desk.model, key, at, this.#grouping ? 2 : 0);
    const group = at === undefined ? this.#all : this.#groups[~at];
    return key === "path" ? (at === undefined ? 20 : this.#name(group).length + 14) : `   ${sumText(key, group)}   `; // they are bold
  }

  #fill(cells: Cells, at: number): void {
    if (at >= 0) {
      fillTensor(this.#desk.model, cells, at, this.#grouping ? 2 : 0);
      return;
    }
    const group = this.#groups[~at];
    const name = this.#name(group);
    this.#fillSum(cells, group, name, this.#open.has(name));
    cells.row.classList.toggle("leftover", this.#grouping === "role" && group.code === LEFTOVER_ROLE);
  }

  #fillSum({ columns, row, cells }: Cells, group: Group, name: string, open?: boolean): void {
    row.className = "row sum";
    row.ariaLevel = this.#grouping ? "1" : null;
    row.ariaExpanded = open === undefined ? null : String(open);
    row.style.setProperty("--level", "0");
    const { bytes } = this.#desk.model.table.summary;
    fillCells(columns, cells, (key) => (key === "path" ? { name, twisty: open === undefined ? "" : open ? "▾" : "▸", note: say("tensors", { count: group.rows.length }) } : sumText(key, group)), group.after / (bytes[1] || 1));
  }

  #toggle(place: number): void {
    const group = this.#groups[~this.#places[place]];
    if (!group) return;
    const name = this.#name(group);
    if (!this.#open.delete(name)) this.#open.add(name);
    this.#desk.selectAll([...group.rows]);
    this.#desk.change(() => undefined);
    this.#grid.go(place, true);
  }

  #key(event: KeyboardEvent, place: number): boolean {
    const group = this.#groups[~this.#places[place]];
    const open = group && this.#open.has(this.#name(group));
    if (event.key === "ArrowRight" && group && !open) this.#toggle(place);
    else if (event.key === "ArrowLeft" && open) this.#toggle(place);
    else if (event.key === "ArrowLeft" && this.#grouping) {
      let above = place;
      while (above > 0 && this.#places[above] >= 0) above--;
      this.#grid.go(above, true);
    } else return false;
    return true;
  }
}

function sumText(key: string, { elements, before, after }: Group): string {
  if (key === "elements") return formatCount(elements);
  if (key === "before") return formatBytes(before);
  if (key === "after") return formatBytes(after);
  if (key === "difference") return formatDelta(before, after, true);
  return key === "memory" ? amount(before, after) : "";
}

