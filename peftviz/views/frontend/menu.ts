/** A button with a small panel of choices below it. Escape, a click elsewhere or the focus going away closes it. */

import { button, element } from "./dom.ts";

export function menu(title: string, fill: (close: () => void) => readonly Node[]): HTMLElement {
  const panel = element("div", { class: "choices", role: "group", "aria-label": title });
  panel.hidden = true;
  const opener = button(`${title} ▾`, "plain", () => show(panel.hidden === true));
  const root = element("span", { class: "menu" }, opener, panel);
  const show = (on: boolean): void => {
    if (on) panel.replaceChildren(
      ...fill(() => {
        show(false);
        opener.focus();
      }),
    );
    panel.hidden = !on;
    opener.ariaExpanded = String(on);
    if (on) panel.querySelector<HTMLElement>("input, button, select")?.focus();
  };
  opener.ariaExpanded = "false";
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || panel.hidden) return;
    event.stopPropagation();
    show(false);
    opener.focus();
  });
  root.addEventListener("focusout", (event) => {
    if (!panel.hidden && !root.contains(event.relatedTarget as Node | null) && event.relatedTarget) show(false);
  });
  root.ownerDocument.addEventListener("pointerdown", (event) => {
    if (!panel.hidden && !event.composedPath().includes(root)) show(false);
  });
  return root;
}

/** A choice that is on or off. */
export function choice(text: string, on: boolean, act: (on: boolean) => void): HTMLElement {
  const box = element("input", { type: "checkbox" });
  box.checked = on;
  box.addEventListener("change", () => act(box.checked));
  return element("label", {}, box, text);
}

/** One of several, by name and title. */
export function choose<Name extends string>(label: string, options: readonly (readonly [Name, string])[], now: Name, act: (name: Name) => void): HTMLSelectElement {
  const made = element("select", { "aria-label": label });
  made.append(...options.map(([name, title]) => new Option(title, name, false, name === now)));
  made.addEventListener("change", () => act(made.value as Name));
  return made;
}

/** One thing to do; it says what was done, an empty text says nothing. */
export interface Deed {
  text: string;
  act(): Promise<string>;
}

/** A menu of things to do, which closes when one is chosen. */
export function deeds(title: string, list: () => readonly Deed[], fail: (error: unknown) => void): HTMLElement {
  const said = element("span", { class: "unseen", role: "status" });
  const root = menu(title, (close) =>
    list().map(({ text, act }) =>
      button(text, "deed", () => {
        close();
        void act().then((done) => (said.textContent = done), fail);
      })));
  root.append(said);
  return root;
}
