// What the benchmark of the inspector does in the page. The widget of the last cell is the one that is driven.

window.lastRoot = () => [...document.querySelectorAll(".peftviz-host")].at(-1)?.shadowRoot;
window.part = (selector) => lastRoot()?.querySelector(selector);
window.rowsShown = (role) => part(`[role=${role}] .scroller .row:not([hidden])`) !== null;
window.counted = () => part(".counter")?.textContent ?? "";
window.press = (text) =>
  [...lastRoot().querySelectorAll("button")].find((made) => `${made.ariaLabel ?? ""}${made.textContent}`.includes(text)).click();
window.openTab = (text) => [...lastRoot().querySelectorAll("[role=tab]")].find((made) => made.textContent.includes(text)).click();
window.typed = (text) => {
  const box = part("input[type=search]");
  box.value = text;
  box.dispatchEvent(new Event("input"));
};
window.key = (key) =>
  part("[role=treegrid] [role=row][tabindex='0']")?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));

const frame = () => new Promise((next) => requestAnimationFrame(next));

// Past the next paint: a message is delivered after the frame that was asked for has been drawn.
const painted = async () => {
  await frame();
  await new Promise((next) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = next;
    port2.postMessage(0);
  });
};

// Seconds from an act to the paint of what it leads to, and the longest gap in milliseconds between two frames meanwhile.
window.watched = async (act, done, limit = 120_000) => {
  let last = 0;
  let longest = 0;
  let over = false;
  const watch = (now) => {
    if (last) longest = Math.max(longest, now - last);
    last = now;
    if (!over) requestAnimationFrame(watch);
  };
  await frame();
  requestAnimationFrame(watch);
  await frame();
  const start = performance.now();
  act();
  while (!done()) {
    if (performance.now() - start > limit) throw new Error("it was not done in time");
    await frame();
  }
  await painted();
  over = true;
  return { seconds: (performance.now() - start) / 1000, longest };
};

// Milliseconds of each of 120 frames, the grid scrolled by so many of its heights in each.
window.scrolled = async (screens) => {
  const scroller = part(".scroller");
  scroller.scrollTop = 0;
  await new Promise((next) => setTimeout(next, 300));
  const times = [];
  let last = await frame();
  for (let step = 0; step < 120; step++) {
    scroller.scrollTop += scroller.clientHeight * screens;
    const now = await frame();
    times.push(now - last);
    last = now;
  }
  return times;
};

window.run = (code) => {
  const { kernel } = window.jupyterapp.shell.currentWidget.context.sessionContext.session;
  kernel.requestExecute({ code });
};
