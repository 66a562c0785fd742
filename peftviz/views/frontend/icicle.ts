/** The memory map: each piece as wide as its bytes, what it holds below it. Drawn on a canvas from the columns. */

import type { Desk, Tab } from "./desk.ts";
import { button, element, toggle } from "./dom.ts";
import { formatBytes, formatDelta, formatPair, visible } from "./format.ts";
import { type Hierarchy, byModule, byRole } from "./hierarchy.ts";
import { type Pieces, layOut, neighbour, pieceAt, pieceOf } from "./icicle_layout.ts";
import { paintPiece, readInks, toneOf, TONES } from "./icicle_paint.ts";
import { ROLES, say } from "./messages.ts";
import type { TreeModel } from "./model.ts";
import { LEFTOVER, MODULE } from "./tree.ts";

/** Pixels of a level: as many as there is room for, between these. */
const LEVEL_HEIGHTS = [23, 44] as const;
const SHARED = ROLES.indexOf("shared");
/** Milliseconds in which a zoom moves to its place. */
const MOVING = 160;

export class Icicle implements Tab {
  readonly id = "icicle";
  readonly tools: readonly HTMLElement[];
  readonly #desk: Desk;
  readonly #modes: readonly HTMLButtonElement[];
  readonly #crumbs = element("nav", { class: "mapcrumbs", "aria-label": say("mapCrumbs") });
  readonly #canvas = element("canvas", { class: "mapcanvas", "aria-hidden": "true" });
  readonly #current = element("div", { id: "map-current", role: "treeitem", class: "unseen" });
  readonly #map = element("div", { class: "map", role: "tree", tabindex: "0", "aria-label": say("tab.icicle"), "aria-activedescendant": "map-current" }, this.#canvas, this.#current);
  readonly #readout = element("p", { class: "readout" });
  readonly #legend = element("ul", { class: "legend", "aria-label": say("legend") });
  readonly #root = element("div", { class: "icicle" }, this.#crumbs, this.#map, this.#readout, this.#legend);
  readonly #sizes = new ResizeObserver(() => this.#draw());
  readonly #themes = new MutationObserver(() => this.#draw());
  #byRole = false;
  #model: TreeModel | null = null;
  #tree: Hierarchy | null = null;
  #zoom = 0;
  #pieces: Pieces | null = null;
  #active = 0;
  #high: number = LEVEL_HEIGHTS[0];
  #frame = 0;
  /** The part of the width that the last picture showed, while it moves to the new one. */
  #from: { x: number; width: number; since: number } | null = null;

  constructor(desk: Desk) {
    this.#desk = desk;
    const mode = (role: boolean): HTMLButtonElement => toggle(say(role ? "mapByRole" : "mapByModule"), !role, () => this.#setMode(role));
    this.#modes = [mode(false), mode(true)];
    this.tools = this.#modes;
    this.#map.addEventListener("click", (event) => this.#click(event));
    this.#map.addEventListener("mousemove", (event) => this.#say(this.#under(event)));
    this.#map.addEventListener("mouseleave", () => this.#say(this.#active));
    this.#map.addEventListener("keydown", (event) => this.#key(event));
    this.#map.addEventListener("focus", () => this.#draw());
    this.#map.addEventListener("blur", () => this.#draw());
    this.#sizes.observe(this.#map);
  }

  open(panel: HTMLElement): void {
    if (!panel.contains(this.#root)) panel.replaceChildren(this.#root);
    const theme = this.#root.closest(".peftviz");
    if (theme) this.#themes.observe(theme, { attributes: true, attributeFilter: ["data-theme"] });
    if (this.#model !== this.#desk.model) {
      this.#model = this.#desk.model;
      this.#divide();
    }
    this.select(this.#desk.selected);
  }

  resize(): void {
    this.#draw();
  }

  select(row: number): void {
    const tree = this.#tree;
    if (!tree) return;
    const node = row < 0 ? -1 : tree.node(row);
    if (node >= 0 && (node < this.#zoom || node >= tree.end[this.#zoom])) this.#zoom = 0;
    this.#draw();
    const found = node >= 0 && this.#pieces ? pieceOf(tree, this.#pieces, node) : 0;
    this.#setActive(Math.max(0, found));
  }

  reveal(row: number): boolean {
    this.select(row);
    return true;
  }

  enter(): void {
    this.#map.focus();
  }

  destroy(): void {
    this.#sizes.disconnect();
    this.#themes.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  #setMode(role: boolean): void {
    this.#byRole = role;
    this.#divide();
    this.select(this.#desk.selected);
  }

  #divide(): void {
    const { model } = this.#desk;
    this.#tree = this.#byRole ? byRole(model, roleName) : byModule(model);
    this.#zoom = 0;
    this.#active = 0;
    this.#modes.forEach((made, index) => (made.ariaPressed = String(this.#byRole === Boolean(index))));
    const { single } = model.table.summary;
    this.#legend.replaceChildren(
      ...TONES.filter((tone) => tone.single === undefined || tone.single === single).map(({ name, sign }) => {
        const swatch = element("canvas", { class: "swatch", "aria-hidden": "true", "data-tone": name });
        return element("li", {}, swatch, `${sign ? `${sign} ` : ""}${say(`map.${name}`)}`);
      }),
    );
  }

  /** Shows what is at and below a node in the whole width. */
  #zoomTo(node: number): void {
    const tree = this.#tree!;
    const old = this.#pieces;
    const at = old ? pieceOf(tree, old, node) : -1;
    if (old && at >= 0 && node !== this.#zoom && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
      const inside = node > this.#zoom;
      this.#from = { x: inside ? old.x[at] : 0, width: inside ? old.width[at] : -1, since: performance.now() };
    }
    const was = this.#zoom;
    this.#zoom = node;
    this.#draw();
    this.#setActive(node < was ? Math.max(0, pieceOf(tree, this.#pieces!, was)) : 0);
  }

  #setActive(piece: number): void {
    this.#active = piece;
    this.#describe();
    this.#paint();
    this.#say(piece);
  }

  #draw(): void {
    const { width, height } = this.#space();
    const tree = this.#tree;
    if (!tree || width < 8 || !tree.size.length) return;
    this.#pieces = layOut(tree, this.#zoom, width, Math.max(2, Math.floor(height / LEVEL_HEIGHTS[0])));
    this.#high = Math.min(LEVEL_HEIGHTS[1], Math.max(LEVEL_HEIGHTS[0], Math.floor(height / this.#pieces.levels)));
    this.#active = Math.min(this.#active, this.#pieces.count - 1);
    this.#showCrumbs();
    this.#describe();
    this.#paint();
    this.#say(this.#active);
  }

  #space(): { width: number; height: number } {
    return { width: this.#map.clientWidth, height: this.#map.clientHeight };
  }

  #paint(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#paintNow());
  }

  #paintNow(): void {
    const pieces = this.#pieces;
    const tree = this.#tree;
    const { width, height } = this.#space();
    if (!pieces || !tree || !width) return;
    const pen = sized(this.#canvas, width, height);
    const inks = readInks(this.#map);
    pen.fillStyle = inks.ground;
    pen.fillRect(0, 0, width, height);
    const { shift, scale, moving } = this.#motion(width);
    const focused = this.#map.matches(":focus-visible");
    for (let at = 0; at < pieces.count; at++) {
      paintPiece(pen, inks, {
        x: shift + pieces.x[at] * scale, y: pieces.level[at] * this.#high, width: pieces.width[at] * scale, height: this.#high - 1,
        tone: this.#tone(at), change: this.#change(at), label: pieces.width[at] > 26 ? this.#label(at) : "",
        chosen: at === this.#active, focused: focused && at === this.#active,
      });
    }
    for (const swatch of this.#legend.querySelectorAll("canvas")) {
      const tone = TONES.findIndex(({ name }) => name === swatch.dataset.tone);
      paintPiece(sized(swatch, 22, 14), inks, { x: 0, y: 0, width: 22, height: 14, tone, change: 0.5, label: "", chosen: false, focused: false });
    }
    if (moving) this.#paint();
  }

  /** From the picture before to this one, for a moment. */
  #motion(width: number): { shift: number; scale: number; moving: boolean } {
    const from = this.#from;
    const progress = from ? (performance.now() - from.since) / MOVING : 1;
    if (!from || progress >= 1) {
      this.#from = null;
      return { shift: 0, scale: 1, moving: false };
    }
    const eased = 1 - (1 - progress) ** 3;
    const start = from.width > 0 ? from.width / width : 1.15;
    const scale = start + (1 - start) * eased;
    return { shift: (from.width > 0 ? from.x : -0.075 * width) * (1 - eased), scale, moving: true };
  }

  #tone(at: number): number {
    const { model } = this.#desk;
    const { summary, columns } = model.table;
    const tree = this.#tree!;
    const node = this.#pieces!.node[at];
    const row = tree.row(node);
    let red = false;
    for (let up = row; up > 0 && !red; up = model.parent[up]) red = columns.status[up] >= LEFTOVER; // and so is all that it holds
    return toneOf(summary.single, tree.before[node], tree.after[node], red, this.#role(row));
  }

  /** The role of a row; of a container for all adapters, that of what it holds first. */
  #role(row: number): number {
    const { columns, rows } = this.#desk.model.table;
    if (row < 0) return 0;
    const level = columns.depth[row];
    let at = row;
    while (columns.role[at] === SHARED && columns.kind[at] === MODULE && at + 1 < rows && columns.depth[at + 1] > level) at++;
    return columns.role[at];
  }

  /** The share of a piece that came (positive) or went (negative). */
  #change(at: number): number {
    const tree = this.#tree!;
    const node = this.#pieces!.node[at];
    return tree.size[node] ? (tree.after[node] - tree.before[node]) / tree.size[node] : 0;
  }

  #label(at: number): string {
    const tree = this.#tree!;
    const { node, head, summed } = this.#pieces!;
    if (summed[at]) return say("mapMore", { count: summed[at] });
    if (node[at] === head[at]) return visible(tree.label(node[at]), 80);
    const names: string[] = [];
    for (let up = node[at]; ; up = tree.parent[up]) {
      names.push(tree.label(up));
      if (up === head[at]) break;
    }
    return visible(names.reverse().join(this.#byRole ? " · " : "."), 80);
  }

  #amounts(at: number): string {
    const tree = this.#tree!;
    const node = this.#pieces!.node[at];
    const before = tree.before[node];
    const after = tree.after[node];
    if (this.#desk.model.table.summary.single) return formatBytes(after);
    const delta = formatDelta(before, after, true);
    return formatPair(formatBytes(before), formatBytes(after)) + (delta ? ` (${delta})` : "");
  }

  #describe(): void {
    const pieces = this.#pieces;
    const tree = this.#tree;
    if (!pieces || !tree) return;
    const at = this.#active;
    const node = pieces.node[at];
    this.#current.ariaLevel = String(pieces.level[at] + 1);
    this.#current.ariaSelected = "true";
    this.#current.ariaExpanded = tree.end[node] > node + 1 && !pieces.summed[at] ? "true" : null;
    this.#current.ariaLabel = `${this.#label(at)}, ${this.#amounts(at)}, ${say(`map.${TONES[this.#tone(at)].name}`)}`;
  }

  #say(at: number): void {
    const pieces = this.#pieces;
    const tree = this.#tree;
    if (!pieces || !tree || at < 0 || at >= pieces.count) return;
    const row = tree.row(pieces.node[at]);
    const name = pieces.summed[at] || row < 0 ? this.#label(at) : visible(this.#desk.model.path(row), 300) || this.#label(at);
    const whole = tree.size[0];
    const share = whole ? (100 * pieces.width[at] * tree.size[this.#zoom]) / (this.#space().width * whole) : 0;
    const tone = TONES[this.#tone(at)];
    const amounts = pieces.summed[at] ? "" : ` · ${this.#amounts(at)}`;
    this.#readout.replaceChildren(element("code", {}, name), `${amounts} · ${say("mapShare", { percent: share < 0.1 ? "<0.1" : share.toFixed(1) })} · ${tone.sign} ${say(`map.${tone.name}`)}`);
  }

  #showCrumbs(): void {
    const tree = this.#tree!;
    const nodes: number[] = [];
    for (let node = this.#zoom; node >= 0; node = tree.parent[node]) nodes.push(node);
    this.#crumbs.replaceChildren(
      ...nodes.reverse().flatMap((node, index) => {
        const made = button(visible(tree.label(node), 40), "crumb", () => this.#zoomTo(node));
        if (node === this.#zoom) made.ariaCurrent = "true";
        return index ? [element("span", { "aria-hidden": "true" }, "›"), made] : [made];
      }),
    );
  }

  #under(event: MouseEvent): number {
    const box = this.#map.getBoundingClientRect();
    return this.#pieces ? pieceAt(this.#pieces, event.clientX - box.left, Math.floor((event.clientY - box.top) / this.#high)) : -1;
  }

  #click(event: MouseEvent): void {
    const at = this.#under(event);
    if (at >= 0) this.#act(at);
  }

  /** Selects what a piece shows and zooms into it; the topmost one leads back out. */
  #act(at: number): void {
    const tree = this.#tree!;
    const pieces = this.#pieces!;
    const node = pieces.node[at];
    const row = tree.row(node);
    if (at === 0 && this.#zoom > 0) this.#zoomTo(this.#above());
    else if (tree.end[node] > node + 1 && !(at === 0 && node === this.#zoom)) this.#zoomTo(node);
    else this.#setActive(at);
    if (row >= 0 && !pieces.summed[at]) this.#desk.select(row);
  }

  /** The nearest node around the zoom that is wider than it. */
  #above(): number {
    const tree = this.#tree!;
    let node = tree.parent[this.#zoom];
    while (node > 0 && tree.size[node] === tree.size[this.#zoom]) node = tree.parent[node];
    return Math.max(0, node);
  }

  #key(event: KeyboardEvent): void {
    const pieces = this.#pieces;
    if (!pieces || event.ctrlKey || event.metaKey || event.altKey) return;
    const ways = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right" } as const;
    const way = ways[event.key as keyof typeof ways];
    if (way) {
      const to = neighbour(pieces, this.#active, way);
      if (to >= 0) {
        this.#setActive(to);
        const row = pieces.summed[to] ? -1 : this.#tree!.row(pieces.node[to]);
        if (row >= 0) this.#follow(row);
      }
    } else if (event.key === "Enter" || event.key === " ") this.#act(this.#active);
    else if ((event.key === "Escape" || event.key === "Backspace") && this.#zoom > 0) this.#zoomTo(this.#above());
    else if (event.key === "Home" && this.#zoom > 0) this.#zoomTo(0);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The details follow the keyboard; the map itself stays as it is. */
  #follow(row: number): void {
    const active = this.#active;
    this.#desk.select(row);
    this.#active = active;
    this.#describe();
    this.#paint();
  }
}

function roleName(role: number, adapter: string): string {
  const name = say(`role.${ROLES[role]}`);
  return adapter ? `${adapter} · ${name}` : name;
}

function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const ratio = devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const pen = canvas.getContext("2d")!;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}
