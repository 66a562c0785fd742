"""`python -m benchmarks.inspector`: drives the widget in a real JupyterLab and prints how long a reader waits.

The models are mixtures of experts with LoRA on every expert, on the meta device (`benchmarks.models`); what is shown is
the diff of a second adapter. Needs the extra `test`, and Chromium.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.table import HEAD, Figure, rows
from tests.ui.conftest import CHROMIUM_FLAGS, CONNECTED, Notebook
from tests.ui.leftover import inspector
from tests.ui.servers import jupyter

LAYERS = {"100k": 7, "1M": 66, "2M": 131}
"""Layers of 256 experts, by about how many rows the diff has: 15,270 a layer."""
FIRST_PAINT = {"100k": 0.5, "1M": 1.2}
FRAME = 26.0
SCROLLING = {"line by line": 0.05, "page by page": 0.9, "by the scrollbar": 300.0}
"""How many of its heights the grid moves from frame to frame."""

PREPARE = """
import gc, torch, peftviz
from benchmarks.models import add_second, mixture
torch.set_num_threads(1)
model = mixture({layers}, 256)
before = peftviz.capture(model)
add_second(model, layer_by_layer=True)
after = peftviz.capture(model)
gc.collect(); gc.freeze()  # a collection of the whole model may fall into any cell: it is no part of the widget
peftviz.capture(torch.nn.Linear(2, 2))  # the first widget of a page loads the front end
"""
SHOW = "changes = peftviz.diff(before, after)\nchanges"
SIZES = """
import time
from peftviz.views.viewmodel.subjects import document
from peftviz.views.inspector.wire import encode
again = peftviz.diff(before, after)
start = time.process_time()
bundle = again._repr_mimebundle_()
spent = time.process_time() - start
table = document(again).table
print(len(table), len(encode(table)), len(bundle), spent)
"""


class Reader:
    """Drives the widget of the last cell, and keeps what it took."""

    def __init__(self, notebook: Notebook, size: str, when: str = "") -> None:
        self.page = notebook.page
        self.size = size
        self.when = when
        self.figures: list[Figure] = []
        self._chromium = self.page.context.new_cdp_session(self.page)
        self._chromium.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent(self) -> float:
        """Seconds of processor time that the page's main thread has taken so far; other programs do not count."""
        metrics = self._chromium.send("Performance.getMetrics")["metrics"]
        return next(float(metric["value"]) for metric in metrics if metric["name"] == "TaskDuration")

    def timed(self, what: str, act: str, done: str, budget: float | None = None) -> None:
        """Does something in the page and waits for the paint of what it leads to; both are JavaScript."""
        before = self.spent()
        took = self.page.evaluate(f"() => watched(() => {{ window.was = counted(); {act}; }}, () => {done})")
        spent = 1000 * (self.spent() - before)
        note = f"{spent:.0f} ms of processor time, longest frame {took['longest']:.0f} ms"
        self.figures.append(Figure(self.size, what + self.when, took["seconds"], "s", budget, note=note))

    def filter(self) -> None:
        for what, text in (("word", "lora_b"), ("path and word", "3.mlp.experts.7 lora"), ("nothing", "")):
            self.timed(f"filter: {what}", f"typed('{text}')", "counted() !== was")

    def parameters(self) -> None:
        self.timed("open the parameters", "openTab('Parameters')", "rowsShown('grid')")
        for key in ("memory", "path"):
            head = f"part('.head .{key}')"
            self.timed(
                f"sort by {key}", f"window.order = {head}.ariaSort; {head}.click()", f"{head}.ariaSort !== order"
            )
        self.timed("back to the structure", "openTab('Structure')", "rowsShown('treegrid')")

    def tree(self) -> None:
        self.timed("unfold what is alike", "press('Fold')", "counted() !== was")
        self.timed("expand all", "key('Home'); key('*')", "counted() !== was")
        selected = "part('[role=row][aria-selected=true]')?.ariaRowIndex"
        self.timed("next change", f"window.place = {selected}; press('next')", f"{selected} !== place")

    def scroll(self) -> None:
        for how, screens in SCROLLING.items():
            times = sorted(self.page.evaluate(f"scrolled({screens})"))
            note = f"95 %: {times[int(len(times) * 0.95)]:.0f} ms, longest {times[-1]:.0f} ms"
            what = f"frame while scrolling {how}{self.when}, median"
            self.figures.append(Figure(self.size, what, statistics.median(times), "ms", FRAME, note=note))


def measure(notebook: Notebook, size: str) -> list[Figure]:
    """The figures of one diff, in a notebook whose first cell has made it."""
    page = notebook.page
    page.evaluate(Path(__file__).with_name("inspector_page.js").read_text(encoding="utf-8"))
    reader = Reader(notebook, size)
    say(f"{size}: the diff")
    before = reader.spent()
    first = page.evaluate(
        """() => {
          window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
          return watched(
            () => window.jupyterapp.commands.execute('notebook:run-cell'),
            () => document.querySelectorAll('.peftviz-host').length > 1 && rowsShown('treegrid'),
          );
        }"""
    )
    page_spent = reader.spent() - before
    count, wire, kinds, spent = notebook.run(SIZES).split()
    assert int(kinds) == 3, "text, HTML and widget"
    figures = [
        Figure(
            size, "cell run to first paint", first["seconds"], "s", FIRST_PAINT.get(size), note=f"{int(count):,} rows"
        ),
        Figure(size, "the kernel's part of it: text, HTML and widget", float(spent), "s", note="processor time"),
        Figure(size, "the page's part of it", page_spent, "s", note="processor time of its main thread"),
        Figure(size, "on the wire", int(wire) / 1e6, "MB"),
    ]
    for part in (reader.filter, reader.parameters, reader.tree, reader.scroll):
        say(f"{size}: {part.__name__}")
        part()
    used = page.context.new_cdp_session(page).send("Runtime.getHeapUsage")
    arrays = f"and {used['backingStorageSize'] / 1e6:.0f} MB of arrays"
    figures += [*reader.figures, Figure(size, "heap of the page", used["usedSize"] / 1e6, "MB", note=arrays)]
    for when, stop in (
        (", while a cell runs", "run('import time; time.sleep(600)')"),
        (", after the kernel died", "window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()"),
    ):
        say(size + when)
        page.evaluate(stop)
        later = Reader(notebook, size, when)
        later.filter()
        later.parameters()
        later.scroll()
        figures += later.figures
    return figures


def write(folder: Path, name: str, cells: list[str]) -> None:
    blank = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    made = [{**blank, "id": f"cell-{number}", "source": source} for number, source in enumerate(cells)]
    content = {"cells": made, "metadata": {"kernelspec": {"name": "python3", "display_name": "Python"}}}
    (folder / f"{name}.ipynb").write_text(json.dumps({**content, "nbformat": 4, "nbformat_minor": 5}))


def say(text: str) -> None:
    """Progress goes where it does not mix with the table."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inspector", description=__doc__)
    parser.add_argument(
        "sizes", nargs="*", metavar="SIZE", choices=[[], *LAYERS], help="100k, 1M (default: both), 2M (8 GB of memory)"
    )
    options = parser.parse_args()
    today = datetime.datetime.now(datetime.timezone.utc).date()
    print(f"{today}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start\n\n{HEAD}", flush=True)
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        home, folder = Path(made) / "home", Path(made) / "notebooks"
        home.mkdir()
        folder.mkdir()
        with jupyter(home, folder) as server:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM_FLAGS))
            for size in options.sizes or ["100k", "1M"]:
                say(f"{size}: the model")
                write(folder, size, [PREPARE.format(layers=LAYERS[size]), SHOW])
                notebook = Notebook(browser.new_page(viewport={"width": 1500, "height": 1150}))
                notebook.page.set_default_timeout(900_000)
                notebook.page.goto(f"{server.url}/lab/tree/{size}.ipynb?reset")
                notebook.page.wait_for_function(CONNECTED)
                notebook.page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")
                inspector(notebook.page).wait_for()
                notebook.page.wait_for_function(CONNECTED)
                print(rows(measure(notebook, size)), flush=True)
                notebook.page.close()
            browser.close()


if __name__ == "__main__":
    main()
