"""A notebook that was saved: as a page without scripts, and opened again without the kernel that made it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter

from tests.ui.conftest import Notebook
from tests.ui.leftover import OPERATIONS, SETUP, filter_rows, inspector, red_row
from tests.ui.servers import Server

pytestmark = pytest.mark.ui

SAVE = "window.jupyterapp.commands.execute('docmanager:save')"
KEEP_STATE = "window.jupyterapp.commands.execute('@jupyter-widgets/jupyterlab-manager:saveWidgetState')"
GROUND = "(mark) => getComputedStyle(mark).backgroundColor"
SHUT_DOWN = "window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()"


@pytest.fixture(scope="module")
def saved(lab: Server, open_notebook: Callable[..., Any]) -> dict[str, Path]:
    """The story, saved by JupyterLab without and with the state of its widgets; its kernel has gone."""
    notebook = open_notebook("saved", [SETUP, OPERATIONS, "session.timeline[-1].audit"])
    red_row(notebook, first=True)
    notebook.page.wait_for_function(
        "window.jupyterapp.shell.currentWidget.content.widgets.at(-1).model.executionCount === 3"
    )
    path = lab.folder / "saved.ipynb"
    kept = {"without state": path.with_name("without-state.ipynb"), "with state": path.with_name("with-state.ipynb")}
    for copy in kept.values():
        notebook.page.evaluate(SAVE)
        copy.write_bytes(path.read_bytes())
        notebook.page.evaluate(KEEP_STATE)
    notebook.page.evaluate(SHUT_DOWN)
    return kept


def test_the_page_of_nbconvert_without_scripts_and_network(
    saved: dict[str, Path], open_page: Callable[..., Any], tmp_path: Path
) -> None:
    html, _ = HTMLExporter().from_notebook_node(nbformat.read(saved["without state"], as_version=4))
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    page = open_page(java_script_enabled=False, offline=True)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    assert requests == [path.as_uri()]

    story = page.locator(".jp-OutputArea-output").filter(has_text="LEFTOVER").first
    assert story.get_by_text("◆ 1 leftover · 81.92 kB").is_visible()
    assert story.get_by_text(re.compile(r"\d+ changed, \d+ added, 8 wrapped, 1 LEFTOVER")).is_visible()
    assert story.get_by_text("608 kB → 783 kB").first.is_visible()
    mark = story.get_by_text("◆ LEFTOVER", exact=True).first
    red, green, blue = (int(value) for value in re.findall(r"\d+", str(mark.evaluate(GROUND)))[:3])
    assert red > 2 * max(green, blue)

    # The tree opens and closes without a script.
    inside = story.get_by_text("lora_A.default").first
    assert inside.is_visible()
    above = story.locator("summary").filter(has_text="layers.0").first
    above.click()
    assert inside.is_hidden()
    above.click()
    assert inside.is_visible()
    assert page.get_by_text("model not found").count() == 0


def test_opened_again_with_the_state_of_its_widgets(
    saved: dict[str, Path], lab: Server, open_page: Callable[..., Any]
) -> None:
    kept = json.loads(saved["with state"].read_text("utf-8"))
    assert "application/vnd.jupyter.widget-state+json" in kept["metadata"]["widgets"]
    for shut_down in (False, True):  # a kernel that knows nothing of the widget, then none
        notebook = Notebook(open_page())
        notebook.page.goto(f"{lab.url}/lab/tree/{saved['with state'].name}?reset")
        widget = inspector(notebook.page).first
        widget.get_by_role("row", name=re.compile("LEFTOVER")).click()
        if shut_down:
            notebook.page.evaluate(SHUT_DOWN)
        filter_rows(widget, "lora_A.math", found="removed")
        widget.get_by_role("row", name=re.compile("LEFTOVER")).click()
        widget.get_by_role("button", name="Delete correctly…").click()
        widget.get_by_role("dialog").get_by_text("The kernel cannot be reached").wait_for()
        assert notebook.outside_requests() == []
        assert notebook.our_errors() == []
