/** What is open, filtered and folded: state over the tree, and the rows that it leaves on show. */

import { passing } from "./filter.ts";
import { INSIDE, LEFTOVER, MODULE, SAME, Tree, search } from "./tree.ts";
import type { Table } from "./wire.ts";

const CONTAINERS = new Set(["ModuleDict", "ParameterDict", "BufferDict"]);
const FIRST_LOOK = 60;

/** Why a row passes the filters: it does itself or holds one that does, it stands beside one, or the reader asked for it. */
const PASSES = 1;
const BESIDE = 2;
const ASKED = 3;

/** The rows on show, in order. */
export interface Shown {
  rows: Int32Array;
  /** The topmost row of the chain that is merged into the row; the row itself when there is none. */
  heads: Int32Array;
  levels: Uint16Array;
  /** Levels in the tree before, where wrappers that came later do not count. */
  oldLevels: Uint16Array;
  /** Not 0: the place stands for so many unchanged siblings from the row on, which are left out. */
  gaps: Uint32Array;
  count: number;
}

export class TreeModel extends Tree {
  readonly #open: Uint8Array;
  /** By the number of a pattern. */
  readonly #container: Uint8Array;
  readonly #concerned: Uint8Array;
  /** Rows that the reader asked for though they did not change. */
  readonly #asked = new Set<number>();
  /** Rows that were merged into a chain below them, in the rows on show. */
  readonly #merged: Uint8Array;
  /** What `#walk` notes of each row for its children: their levels, and the topmost merged row above. */
  readonly #level: Uint16Array;
  readonly #oldLevel: Uint16Array;
  readonly #head: Int32Array;
  /** Rows that the filters and folding leave out, and the only child of each that they leave, -1 for none and -2 for several. */
  readonly #hidden: Uint8Array;
  readonly #only: Int32Array;
  #matches: Uint8Array | null = null;
  filter = "";
  onlyChanges: boolean;
  /** How many unchanged siblings are shown before and after a row that changed. */
  context = 1;
  fold = true;
  shown!: Shown;

  constructor(table: Table) {
    super(table);
    const { kind, type_before, type_after } = table.patterns;
    const count = table.rows;
    this.#open = new Uint8Array(count);
    this.#merged = new Uint8Array(count);
    this.#level = new Uint16Array(count);
    this.#oldLevel = new Uint16Array(count);
    this.#head = new Int32Array(count);
    this.#hidden = new Uint8Array(count);
    this.#only = new Int32Array(count);
    this.#concerned = new Uint8Array(count);
    for (const finding of table.findings) for (const row of finding.rows) this.#concerned[row] = 1;
    this.onlyChanges = this.hasChanges && !table.summary.single;
    const plainContainer = table.strings.map((text) => CONTAINERS.has(text));
    this.#container = Uint8Array.from(kind, (value, number) => Number(value === MODULE && plainContainer[type_after[number] || type_before[number]]));
    this.#openAtFirst();
    this.#update();
  }

  isOpen(row: number): boolean {
    return this.#open[row] === 1;
  }

  setOpen(row: number, open: boolean): void {
    this.#open[row] = open ? 1 : 0;
    this.shown = this.#walk();
  }

  openAll(row: number): void {
    this.#open.fill(1, row, this.end[row]);
    this.shown = this.#walk();
  }

  /** Shows the unchanged siblings that a place stands for. */
  openGap(place: number): void {
    let row = this.shown.rows[place];
    for (let left = this.shown.gaps[place]; left > 0; left--, row = this.end[row]) this.#asked.add(row);
    this.#update();
  }

  setFilter(text: string): void {
    this.filter = text;
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.#matches = words.length ? passing(this, words) : null;
    this.#update();
  }

  setOnlyChanges(on: boolean): void {
    if (on === this.onlyChanges) return;
    this.onlyChanges = on;
    this.#asked.clear();
    this.#update();
  }

  setContext(count: number): void {
    if (count === this.context) return;
    this.context = count;
    this.#update();
  }

  setFold(on: boolean): void {
    if (on === this.fold) return;
    this.fold = on;
    this.#update();
  }

  /** Opens what hides a row, filters included, and returns its place among the shown rows. */
  reveal(row: number): number {
    let place = this.placeOf(row);
    if (place >= 0) return place;
    for (let at = this.parent[row]; at >= 0; at = this.parent[at]) this.#open[at] = 1;
    if (this.onlyChanges) for (let at = row; at > 0 && this.table.columns.status[at] === SAME; at = this.parent[at]) this.#asked.add(at);
    this.#update();
    place = this.placeOf(row);
    if (place < 0 && this.fold) {
      this.fold = !this.#isFolded(row);
      this.#update();
      place = this.placeOf(row);
    }
    if (place < 0) {
      this.onlyChanges = false;
      this.setFilter("");
      place = this.placeOf(row);
    }
    return place;
  }

  placeOf(row: number): number {
    const place = search(this.shown.rows, this.shown.count, row);
    return place < 0 || this.shown.gaps[place] ? -1 : place;
  }

  /** What a row was called in the tree before, from below the nearest row on show that was there, too. */
  oldName(row: number, head: number): string {
    const old = this.oldPath(row);
    let above = this.parent[head];
    while (above > 0 && (this.#merged[above] || !this.on("before", above))) above = this.parent[above];
    const prefix = above > 0 ? `${this.oldPath(above)}.` : "";
    return old ? (old.startsWith(prefix) ? old.slice(prefix.length) : old) : this.text("type_before", row);
  }

  /** The rows that a row on show stands for: itself, or with it all that are folded into it. */
  membersOf(row: number): number[] {
    const members = [row];
    for (let left = this.folding ? this.runOf[row] : 0; left > 1; left--) members.push(this.end[members[members.length - 1]]);
    return members;
  }

  /** The next row in the tree that changed itself, from `row` on in a direction; -1 when there is none. */
  changeFrom(row: number, step: 1 | -1): number {
    const { status } = this.table.columns;
    const folding = this.folding;
    for (let at = row + step; at >= 0 && at < this.rows; at += step) {
      if (status[at] === SAME || status[at] === INSIDE) continue;
      if (folding && this.#isFolded(at)) continue;
      return at;
    }
    return -1;
  }

  /** Whether a tensor passes the filters; `unchanged` ones do, whatever the switch says, where they are asked for. */
  passes(row: number, unchanged = false): boolean {
    return (unchanged || !this.onlyChanges || this.tensorStatus(row) !== SAME) && (!this.#matches || this.#matches[row] === 1);
  }

  /** Whether numbered rows that are alike are shown as one: not while a text filter looks for a certain one. */
  get folding(): boolean {
    return this.fold && !this.#matches;
  }

  #isFolded(row: number): boolean {
    for (let at = row; at > 0; at = this.parent[at]) if (this.follower[at]) return true;
    return false;
  }

  #update(): void {
    this.#leaveOut(this.#kept());
    this.shown = this.#walk();
  }

  #leaveOut(keep: Uint8Array | null): void {
    const { parent, follower, folding, rows: total } = this;
    const hidden = this.#hidden.fill(0);
    const only = this.#only.fill(-1);
    if (keep && total) hidden[0] = keep[0] ? 0 : 1;
    for (let row = 1; row < total; row++) {
      const above = parent[row];
      if (keep && !keep[row]) {
        if (keep[above] > PASSES) keep[row] = ASKED; // below what is shown without having changed, all is
        else hidden[row] = 1;
      }
      if (hidden[row] || (folding && follower[row])) continue;
      only[above] = only[above] === -1 ? row : -2;
    }
  }

  /** Rows that pass the filters, and why; null when no filter is on. */
  #kept(): Uint8Array | null {
    const matches = this.#matches;
    if (!matches && !this.onlyChanges) return null;
    const { status } = this.table.columns;
    const keep = new Uint8Array(this.rows);
    for (let row = this.rows - 1; row >= 0; row--) {
      if (!keep[row] && (!this.onlyChanges || status[row] !== SAME) && (!matches || matches[row])) keep[row] = PASSES;
      if (keep[row] && row > 0) keep[this.parent[row]] = PASSES;
    }
    if (matches) return keep;
    this.#keepBeside(keep);
    for (const row of this.#asked) if (!keep[row]) keep[row] = ASKED;
    return keep;
  }

  /** Keeps the siblings right before and right after each row that changed itself. */
  #keepBeside(keep: Uint8Array): void {
    const { status } = this.table.columns;
    const { parent, end, context, rows: total } = this;
    const beside = (row: number): void => void (keep[row] ||= BESIDE);
    for (let row = 1; row < total; row++) {
      if (status[row] === SAME || status[row] === INSIDE) continue;
      const above = parent[row];
      for (let left = context, next = end[row]; left > 0 && next < end[above]; left--, next = end[next]) beside(next);
      for (let left = context, at = row; left > 0 && at > above + 1; left--) {
        at--; // the last row within the sibling before: from there it is above
        while (parent[at] !== above) at = parent[at];
        beside(at);
      }
    }
  }

  #walk(): Shown {
    const { status, kind } = this.table.columns;
    const { parent, end, follower, folding, rows: total } = this;
    const { pattern } = this.table;
    const searching = this.#matches !== null;
    // A row is asked for what its parent noted in the same walk, so that nothing has to be cleared before.
    const [hidden, only, merged, level, oldLevel, head, container] = [this.#hidden, this.#only, this.#merged, this.#level, this.#oldLevel, this.#head, this.#container];
    const out = new Rows();
    for (let row = 0; row < total; ) {
      const above = parent[row];
      const own = above >= 0 ? level[above] : 1;
      const old = above >= 0 ? oldLevel[above] : 1;
      if (hidden[row]) {
        let next = row;
        let gap = 0;
        for (const stop = above >= 0 ? end[above] : total; next < stop && hidden[next]; next = end[next]) gap++;
        const told = !searching && (above < 0 || head[above] < 0 || container[pattern[above]]);
        if (told && gap > 1) out.add(row, row, own, old, gap);
        if (!told || gap > 1) {
          row = next;
          continue;
        }
        // A single row takes no more room than to say that it is left out.
      } else if (folding && row > 0 && follower[row]) {
        row = end[row];
        continue;
      }
      const first = above >= 0 && head[above] >= 0 ? head[above] : row;
      const child = only[row];
      const quiet = status[row] === SAME || status[row] === INSIDE || (container[pattern[row]] === 1 && status[row] < LEFTOVER);
      if (
        this.fold && quiet && kind[row] === MODULE && !this.#concerned[row] && !this.runOf[row] &&
        (child >= 0 ? kind[child] === MODULE : child === -2 && container[pattern[row]] === 1)
      ) {
        merged[row] = 1;
        level[row] = own;
        oldLevel[row] = old;
        head[row] = first;
        row++;
        continue;
      }
      out.add(row, first, own, old, 0);
      merged[row] = 0;
      head[row] = -1;
      level[row] = own + 1;
      oldLevel[row] = old + (this.on("before", row) ? 1 : 0);
      row = this.#open[row] || (searching && child !== -1) ? row + 1 : end[row];
    }
    return out.cut();
  }

  /** Opens the way to what changed, or the first levels of a single state. */
  #openAtFirst(): void {
    const { status, depth } = this.table.columns;
    const total = this.rows;
    if (!total) return;
    const mixed = new Uint8Array(total);
    for (let row = total - 1; row > 0; row--) {
      const above = this.parent[row];
      const other = status[row] !== status[above] && status[row] !== SAME;
      if (mixed[row] || other) mixed[above] = 1;
      if (mixed[row] && status[row] !== SAME) this.#open[row] = 1;
    }
    this.#open[0] = 1;
    if (this.hasChanges) {
      if (this.table.patterns.status.some((value) => value >= LEFTOVER)) for (let row = 1; row < total; row++) if (status[row] >= LEFTOVER) this.#openAbove(row);
      for (const { rows } of this.table.findings) for (const row of rows) this.#openAbove(row);
      if (!this.table.summary.single) return;
    }
    const follows = new Uint8Array(total);
    const perDepth: number[] = [];
    for (let row = 1; row < total; row++) {
      follows[row] = this.follower[row] | follows[this.parent[row]];
      if (!follows[row]) perDepth[depth[row]] = (perDepth[depth[row]] ?? 0) + 1;
    }
    let room = FIRST_LOOK;
    let deepest = 0;
    while (deepest + 1 < perDepth.length && (room -= perDepth[deepest + 1] ?? 0) > 0) deepest++;
    for (let row = 0; row < total; row++) if (depth[row] < deepest) this.#open[row] = 1;
  }

  #openAbove(row: number): void {
    for (let at = this.parent[row]; at >= 0 && !this.#open[at]; at = this.parent[at]) this.#open[at] = 1;
  }
}

/** Rows on show while they are collected: arrays that grow. */
class Rows implements Shown {
  rows = new Int32Array(1024);
  heads = new Int32Array(1024);
  levels = new Uint16Array(1024);
  oldLevels = new Uint16Array(1024);
  gaps = new Uint32Array(1024);
  count = 0;

  add(row: number, head: number, level: number, oldLevel: number, gap: number): void {
    if (this.count === this.rows.length) this.#resize(2 * this.count);
    const place = this.count++;
    this.rows[place] = row;
    this.heads[place] = head;
    this.levels[place] = level;
    this.oldLevels[place] = oldLevel;
    this.gaps[place] = gap;
  }

  /** As long as there are rows. */
  cut(): Shown {
    this.#resize(this.count);
    return this;
  }

  #resize(length: number): void {
    const sized = <Column extends Int32Array | Uint16Array | Uint32Array>(old: Column): Column => {
      const made = new (old.constructor as new (length: number) => Column)(length);
      made.set(old.subarray(0, Math.min(length, this.count)));
      return made;
    };
    this.rows = sized(this.rows);
    this.heads = sized(this.heads);
    this.levels = sized(this.levels);
    this.oldLevels = sized(this.oldLevels);
    this.gaps = sized(this.gaps);
  }
}
