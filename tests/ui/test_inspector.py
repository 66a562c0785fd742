"""The story of the leftover, in a real JupyterLab with a real model and kernel."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.ui.leftover import HAS_COPY, OPERATIONS, SETUP, inspector, red_row

pytestmark = pytest.mark.ui


def ground(page: Any) -> str:
    return str(inspector(page).evaluate("(root) => getComputedStyle(root).backgroundColor"))


@pytest.fixture(scope="module")
def notebook(open_notebook: Callable[..., Any]) -> Any:
    """One notebook, the cells of which are run anew for each test."""
    return open_notebook("story", [SETUP, OPERATIONS])


def test_red_leftover_is_deleted_with_proof(notebook: Any) -> None:
    page = notebook.page
    red = red_row(notebook)
    widget = inspector(page)
    assert "modules_to_save.math" in red.text_content()
    assert widget.get_by_role("button", name=re.compile("^◆ 1 leftover")).is_visible()
    assert notebook.run(HAS_COPY) == "True"

    # Any step is a click away; the current one comes back.
    steps = widget.get_by_role("navigation", name="Operations").get_by_role("listitem")
    assert steps.count() == 4
    steps.nth(1).get_by_role("button").click()
    widget.get_by_text("step 1 of 3").wait_for()
    assert widget.get_by_role("row", name=re.compile("LEFTOVER")).count() == 0
    steps.nth(3).get_by_role("button").click()
    red.wait_for()

    # Look, plan, act, check.
    red.click()
    widget.get_by_role("button", name="Delete correctly…").click()
    dialog = widget.get_by_role("dialog")
    dialog.get_by_text("Delete adapter 'math'").wait_for()
    assert "Nothing has been done yet" in dialog.inner_text()
    assert notebook.run(HAS_COPY) == "True", "looking at a plan must change nothing"
    dialog.get_by_role("button", name="Delete now").dblclick()
    dialog.get_by_text("no trace of 'math' is left").wait_for()
    assert "freed 1 tensor" in dialog.inner_text()
    assert "still alive" not in dialog.inner_text()
    assert dialog.get_by_role("heading", name="✓ Done").is_visible()
    dialog.get_by_role("button", name="Close").click()
    widget.get_by_text("nothing left over").wait_for()
    assert widget.get_by_role("row", name=re.compile("LEFTOVER")).count() == 0

    assert notebook.run(HAS_COPY) == "False"
    assert notebook.run("print(len(session.timeline), 'delete_adapter' in session.timeline[-1].label)") == "4 True"
    assert notebook.run("print(list(session.model.peft_config))") == "['default']"
    assert notebook.run("print(peftviz.audit(session.model).clean)") == "True"
    assert notebook.outside_requests() == []
    assert notebook.our_errors() == []


def test_keyboard_filter_themes_and_a_dead_kernel(notebook: Any) -> None:
    page = notebook.page
    red = red_row(notebook)
    widget = inspector(page)

    grid = widget.get_by_role("treegrid", name="Structure")
    red.click()
    page.keyboard.press("Home")
    first = grid.locator("[role=row]:focus")
    assert first.get_attribute("aria-level") == "1"
    assert first.get_attribute("aria-expanded") == "true"
    shown = int(grid.get_attribute("aria-rowcount"))
    page.keyboard.press("ArrowLeft")
    assert first.get_attribute("aria-expanded") == "false"
    assert int(grid.get_attribute("aria-rowcount")) == 2
    page.keyboard.press("ArrowRight")
    assert int(grid.get_attribute("aria-rowcount")) == shown
    page.keyboard.press("End")
    assert "LEFTOVER" in grid.locator("[role=row]:focus").inner_text()
    page.keyboard.press("?")
    widget.get_by_role("dialog").get_by_text("Keyboard help").wait_for()
    page.keyboard.press("Escape")

    # Letters typed here are no shortcuts of the notebook: "d d" deletes a cell there.
    cells = page.locator(".jp-Cell").count()
    widget.get_by_role("searchbox", name="Filter rows").fill("")
    widget.get_by_role("searchbox", name="Filter rows").press_sequentially("dd lora_a")
    grid.get_by_role("row", name="No row matches.").wait_for()
    widget.get_by_role("searchbox", name="Filter rows").fill("lora_A.math")
    grid.get_by_role("row", name=re.compile("removed")).first.wait_for()
    assert page.locator(".jp-Cell").count() == cells
    widget.get_by_role("searchbox", name="Filter rows").fill("")

    grounds = {}
    for theme in ("Light", "Dark"):  # Jupyter remembers the theme of the test before
        change = f"window.jupyterapp.commands.execute('apputils:change-theme', {{ theme: 'JupyterLab {theme}' }})"
        page.evaluate(change)
        page.locator(f"[data-theme={theme.lower()}]").wait_for()
        page.wait_for_timeout(500)  # Lab takes the old theme away after the new one has come
        grounds[theme] = ground(page)
    assert grounds["Light"] == "rgb(255, 255, 255)"
    assert grounds["Dark"] != grounds["Light"]
    red.wait_for()

    page.evaluate("window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.sessionContext.session")
    widget.get_by_role("tab", name=re.compile("Findings")).click()
    widget.get_by_role("button", name=re.compile("PV101")).click()
    assert "LEFTOVER" in grid.locator("[role=row]:focus").inner_text()
    widget.get_by_role("tab", name="Parameters").click()
    parameters = widget.get_by_role("grid", name="Parameters")
    parameters.get_by_role("row", name=re.compile("modules_to_save.math.weight")).wait_for()

    # The titles sort by keyboard.
    title = parameters.get_by_role("columnheader", name="Parameter")
    title.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    memory = parameters.get_by_role("columnheader", name="Memory")
    assert memory.evaluate("(cell) => cell.matches(':focus')")
    assert memory.get_attribute("aria-sort") == "none"
    first = parameters.locator("[role=row][aria-rowindex='2']")
    page.keyboard.press("Enter")
    assert memory.get_attribute("aria-sort") == "descending"
    assert "lm_head" in first.get_by_role("rowheader").get_attribute("aria-label")
    page.keyboard.press(" ")
    assert memory.get_attribute("aria-sort") == "ascending"
    assert title.get_attribute("aria-sort") == "none"
    assert "lora" in first.get_by_role("rowheader").get_attribute("aria-label")
    page.keyboard.press("ArrowDown")
    assert parameters.locator("[role=row]:focus").count() == 1, "from the titles into the rows"
    assert notebook.outside_requests() == []
    assert notebook.our_errors() == []
