/** Dark or light: as Jupyter or its like says, or else as the system prefers. Follows a switch at once. */

export function followTheme(root: HTMLElement): () => void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = (): void => {
    root.dataset.theme = isDark(root, system.matches) ? "dark" : "light";
  };
  const observer = new MutationObserver(apply);
  for (const target of [document.documentElement, document.body]) observer.observe(target, { attributes: true });
  system.addEventListener("change", apply);
  apply();
  return () => {
    observer.disconnect();
    system.removeEventListener("change", apply);
  };
}

function isDark(root: HTMLElement, system: boolean): boolean {
  const told = document.body.dataset.jpThemeLight;
  if (told !== undefined) return told === "false";
  const ground = getComputedStyle(root).getPropertyValue("--jp-layout-color1").trim();
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(ground)?.[1];
  if (hex) {
    const parts = hex.length === 3 ? [...hex].map((digit) => parseInt(digit + digit, 16)) : [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return 0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2] < 128;
  }
  const names = `${document.body.className} ${document.documentElement.className}`;
  if (/\b(vscode-dark|dark)\b/.test(names)) return true;
  if (/\b(vscode-light|light)\b/.test(names)) return false;
  return system;
}
