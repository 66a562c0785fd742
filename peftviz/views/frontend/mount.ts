/** Puts the app behind a shadow root, so that neither page nor widget styles the other. */

import type { App } from "./app.ts";
import { followTheme } from "./theme.ts";

export function mount(place: HTMLElement, app: App, style: string, page: boolean): () => void {
  const host = document.createElement("div");
  host.className = page ? "peftviz-host peftviz-whole-page" : "peftviz-host";
  // JupyterLab sees keys typed behind a shadow root as keys on the host, and would run its shortcuts.
  host.setAttribute("data-lm-suppress-shortcuts", "true");
  if (page) app.root.classList.add("page");
  const shadow = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  shadow.adoptedStyleSheets = [sheet]; // not an inline style: allowed under the page's content security policy
  shadow.append(app.root);
  place.append(host);
  const unfollow = followTheme(app.root);
  return () => {
    unfollow();
    app.destroy();
    host.remove();
  };
}
