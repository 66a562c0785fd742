/** The tab of the graph: what `dot` drew of a part of the tree, before and after, made of shapes and never of markup. */

import type { Desk, Tab } from "./desk.ts";
import { failureBox, failureOf } from "./dialog.ts";
import { button, element, toggle } from "./dom.ts";
import { visible } from "./format.ts";
import { say } from "./messages.ts";
import { MODULE } from "./tree.ts";
import { type Drawing, type Shape, readDrawing } from "./shapes.ts";

const SVG = "http://www.w3.org/2000/svg";
/** Pixels for a point. */
const SCALE = 1.2;

export class Graph implements Tab {
  readonly id = "graph";
  readonly tools: readonly HTMLElement[];
  readonly #desk: Desk;
  readonly #again: HTMLButtonElement;
  readonly #title = element("p", { class: "graphtitle", role: "status" });
  readonly #place = element("div", { class: "graphplace fits" });
  readonly #root = element("div", { class: "graph" }, this.#title, this.#place);
  #turn = 0;
  /** State and row of the picture on show. */
  #shown = "";
  #row = 0;

  constructor(desk: Desk) {
    this.#desk = desk;
    this.#again = button(say("graphDraw"), "plain", () => void this.#draw(this.#wanted()));
    const fit = toggle(say("graphFit"), true, (on) => this.#place.classList.toggle("fits", on));
    this.tools = desk.outside.ask ? [this.#again, fit] : [];
    this.#place.addEventListener("click", (event) => this.#choose(event.target as Element));
    this.#place.addEventListener("keydown", (event) => this.#key(event));
  }

  open(panel: HTMLElement): void {
    if (!panel.contains(this.#root)) panel.replaceChildren(this.#root);
    if (!this.#desk.outside.ask) {
      this.#place.replaceChildren(element("p", { class: "nothing" }, say("graphNoKernel")));
      return;
    }
    if (this.#state() !== this.#shown) void this.#draw(this.#wanted());
    this.select(this.#desk.selected);
  }

  select(row: number): void {
    for (const line of this.#lines()) line.ariaPressed = String(Number(line.dataset.row) === row);
    this.#again.disabled = this.#wanted() === this.#row && this.#shown !== "";
  }

  reveal(row: number): boolean {
    this.select(row);
    return this.#lines().some((line) => Number(line.dataset.row) === row);
  }

  enter(): void {
    this.#lines()[0]?.focus();
  }

  #state(): string {
    const { view, model } = this.#desk;
    return `${view.index} ${view.base} ${model.rows} ${view.title}`;
  }

  /** The module that is selected, or holds the tensor that is. */
  #wanted(): number {
    const { model, selected } = this.#desk;
    if (selected < 0) return 0;
    return model.table.columns.kind[selected] === MODULE ? selected : Math.max(0, model.parent[selected]);
  }

  async #draw(row: number): Promise<void> {
    const { outside, view, model } = this.#desk;
    const mine = ++this.#turn;
    const state = this.#state();
    this.#title.textContent = say("waiting");
    try {
      const { content } = await outside.ask!({ ask: "graph", index: view.index, base: view.base, row });
      if (mine !== this.#turn) return;
      this.#place.replaceChildren(this.#build(readDrawing(content)));
      this.#title.textContent = say("graphOf", { path: visible(model.path(row), 200) || say("theModel") });
    } catch (error) {
      if (mine !== this.#turn) return;
      this.#title.textContent = "";
      this.#place.replaceChildren(failureBox(failureOf(error)));
    }
    this.#shown = state;
    this.#row = row;
    this.select(this.#desk.selected);
  }

  #build(drawing: Drawing): SVGSVGElement {
    const svg = made("svg", { viewBox: `0 0 ${drawing.width} ${drawing.height}`, role: "group" });
    svg.ariaLabel = say("tab.graph");
    const inner = made("g", { transform: `translate(${drawing.shift[0]} ${drawing.shift[1]})` });
    svg.append(inner);
    let line: SVGGElement | null = null;
    let first = true;
    for (const shape of drawing.shapes) {
      if (shape.row < 0 || shape.row >= this.#desk.model.rows) {
        inner.append(shapeElement(shape));
        line = null;
        continue;
      }
      if (line?.dataset.row !== String(shape.row)) {
        line = made("g", { class: "line", role: "button", tabindex: first ? "0" : "-1" });
        line.dataset.row = String(shape.row);
        line.ariaLabel = visible(this.#desk.model.path(shape.row), 300) || say("theModel");
        inner.append(line);
        first = false;
      }
      line.append(shapeElement(shape));
    }
    svg.style.setProperty("--natural", `${drawing.width * SCALE}px`);
    return svg;
  }

  #lines(): SVGGElement[] {
    return [...this.#place.querySelectorAll<SVGGElement>("g.line")];
  }

  #choose(target: Element): void {
    const line = target.closest<SVGGElement>("g.line");
    if (!line) return;
    for (const other of this.#lines()) other.setAttribute("tabindex", other === line ? "0" : "-1");
    this.#desk.select(Number(line.dataset.row));
  }

  #key(event: KeyboardEvent): void {
    const lines = this.#lines();
    const at = lines.indexOf(event.target as SVGGElement);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: lines.length - 1 }[event.key];
    if (to !== undefined) {
      const next = lines[Math.max(0, Math.min(to, lines.length - 1))];
      lines.forEach((line) => line.setAttribute("tabindex", line === next ? "0" : "-1"));
      next.focus();
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else if (event.key === "Enter" || event.key === " ") this.#choose(lines[at]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

function made<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Record<string, string>): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function shapeElement(shape: Shape): SVGElement {
  const ink = (name: string): string => (name ? `var(--${name})` : "none");
  if (shape.kind === "text") {
    const text = made("text", { x: String(shape.x), y: String(shape.y), "text-anchor": shape.anchor, "font-size": String(shape.size) });
    text.style.fill = ink(shape.fill);
    if (shape.bold) text.style.fontWeight = "600";
    if (shape.italic) text.style.fontStyle = "italic";
    if (shape.code) text.style.fontFamily = "var(--code)";
    text.textContent = shape.text;
    return text;
  }
  const drawn = shape.kind === "path" ? made("path", { d: shape.d }) : made("polygon", { points: shape.points });
  drawn.style.fill = ink(shape.fill);
  drawn.style.stroke = ink(shape.stroke);
  if (shape.kind === "path" && shape.dashed) drawn.style.strokeDasharray = "5 2";
  return drawn;
}
