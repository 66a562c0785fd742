"""A real Jupyter server and a headless Chromium, one of each for all tests of this folder that a process runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from peftviz.core.timeline import Step, Timeline
from peftviz.views.inspector.page import to_html
from tests.ui.servers import Server, jupyter
from tests.views.story import adapted, half_deleted, plain

pytest.importorskip("jupyterlab")
pytest.importorskip("anywidget")
sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PLACES = {"lab": "lab/tree", "notebook": "notebooks"}
HOSTS_OWN = ("/static/lab/", "/static/notebook/")
"""Where the modules of JupyterLab and Notebook 7 come from, which fail now and then when a page opens or closes."""
CONNECTED = """() => {
  const shown = window.jupyterapp?.shell?.currentWidget;
  const kernel = shown?.context?.sessionContext?.session?.kernel;
  return kernel?.connectionStatus === 'connected' && kernel?.status === 'idle';
}"""


@dataclass
class Watched:
    """A browser page, and what went on in it.

    Attributes:
        page: The browser page.
        requests: Addresses that the browser has asked for.
        errors: Uncaught errors of the page, each with its stack.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(30_000)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(f"{error}\n{error.stack}"))

    def our_errors(self) -> list[str]:
        """All errors of the page, but those whose whole stack lies in the host's own modules."""
        return [
            error
            for error in self.errors
            if not (places := re.findall(r"\b(?:https?|blob|file):\S+", error))
            or not all(any(own in place for own in HOSTS_OWN) for place in places)
        ]

    def outside_requests(self) -> list[str]:
        """What the browser asked of any other host than this one."""
        local = {"127.0.0.1", "localhost", ""}
        return [address for address in self.requests if (urlsplit(address).hostname or "") not in local]


class Notebook(Watched):
    """A notebook that is open in JupyterLab or Notebook 7."""

    def run_all(self) -> None:
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def run(self, code: str) -> str:
        """Runs code in the kernel and returns what it printed."""
        return str(
            self.page.evaluate(
                """async (code) => {
                  const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
                  const future = kernel.requestExecute({ code, store_history: false });
                  let text = '';
                  future.onIOPub = (message) => {
                    if (message.header.msg_type === 'stream') text += message.content.text;
                    if (message.header.msg_type === 'error') text += message.content.traceback.join('\\n');
                  };
                  await future.done;
                  return text;
                }""",
                code,
            )
        ).strip()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with jupyter(tmp_path_factory.mktemp("jupyter"), tmp_path_factory.mktemp("notebooks")) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an empty page with a storage of its own."""
    contexts = []

    def open_it(**options: Any) -> Any:
        settings = {"viewport": {"width": 1500, "height": 1150}, "color_scheme": "light", **options}
        contexts.append(browser.new_context(**settings))
        return contexts[-1].new_page()

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def open_notebook(lab: Server, open_page: Callable[..., Any]) -> Callable[..., Notebook]:
    """Writes a notebook of the given cells and opens it, with its kernel connected."""

    def open_it(name: str, cells: list[str], *, kernel: str = "python3", front: str = "lab") -> Notebook:
        blank = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        sources = [{**blank, "id": f"cell-{number}", "source": source} for number, source in enumerate(cells)]
        spec = {"kernelspec": {"display_name": kernel, "language": "python", "name": kernel}}
        content = {"cells": sources, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}
        (lab.folder / f"{name}.ipynb").write_text(json.dumps(content))
        notebook = Notebook(open_page())
        notebook.page.goto(f"{lab.url}/{PLACES[front]}/{name}.ipynb?reset")
        notebook.page.wait_for_function(CONNECTED, timeout=60_000)
        return notebook

    return open_it


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    """What a session records of the story: two adapters come, the second is deleted by half."""
    first = plain()
    models = [first, adapted(first, "default"), adapted(first, "default", "math")]
    models.append(half_deleted(models[-1], "math"))
    states = [model.snapshot() for model in models]
    labels = ("get_peft_model('default')", "add_adapter('math')", "delete_adapter('math')")
    steps = [
        Step(label, label.partition("(")[0], before, after, duration=1.5)
        for label, before, after in zip(labels, states[:-1], states[1:], strict=True)
    ]
    return Timeline(states[0], steps)


@pytest.fixture
def open_export(browser: Any, tmp_path: Path, timeline: Timeline) -> Iterator[Callable[..., Any]]:
    """Exports a subject, the timeline where none is given, and opens the page, with its rows painted."""
    contexts: list[Any] = []

    def open_it(subject: Any = None, **options: Any) -> Any:
        path = tmp_path / "page.html"
        to_html(subject or timeline, path)
        context = browser.new_context(**{"viewport": {"width": 1500, "height": 900}, "locale": "en-US", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.goto(path.as_uri())
        page.locator(".peftviz [role=row]:not([hidden])").first.wait_for()
        return page

    yield open_it
    for context in contexts:
        context.close()
