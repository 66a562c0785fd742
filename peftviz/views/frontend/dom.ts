/** Elements, with text set as text and nothing else. */

export type Child = Node | string | null | undefined | false;

export interface Attributes {
  class?: string;
  role?: string;
  title?: string;
  id?: string;
  type?: string;
  tabindex?: string;
  placeholder?: string;
  scope?: string;
  [name: `aria-${string}` | `data-${string}`]: string | undefined;
}

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(name, value);
  for (const child of children) if (child) made.append(child);
  return made;
}

export function button(text: string, kind: string, act: () => void): HTMLButtonElement {
  const made = element("button", { type: "button", class: kind }, text);
  made.addEventListener("click", act);
  return made;
}

/** A button that is on or off. */
export function toggle(text: string, on: boolean, act: (on: boolean) => void): HTMLButtonElement {
  const made = button(text, "toggle", () => {
    const now = made.ariaPressed !== "true";
    made.ariaPressed = String(now);
    act(now);
  });
  made.ariaPressed = String(on);
  return made;
}

export function setText(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/** 1 or -1 for the arrow that goes to the next or the previous of several things, else 0. */
export function arrowStep({ key }: KeyboardEvent): number {
  return /^Arrow(Right|Down)$/.test(key) ? 1 : /^Arrow(Left|Up)$/.test(key) ? -1 : 0;
}
