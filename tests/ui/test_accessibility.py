"""axe-core in the real page: no violation in any tab, dialog, theme or width, exported or in JupyterLab."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.views.html import to_html
from tests.ui.leftover import OPERATIONS, SETUP, inspector, red_row
from tests.views.story import story

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytestmark = pytest.mark.ui

WIDGET = ".peftviz-host"


def violations(page: Any, within: str | None = None) -> list[str]:
    """What axe-core finds fault with, one line for each element concerned."""
    found = axe.Axe().run(page, context=within).response
    assert found["passes"], "axe-core has looked at nothing"
    return [
        f"{rule['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def violations_by_place(page: Any, within: str | None = None) -> dict[str, list[str]]:
    """The violations of each tab, of a table that a filter leaves empty, and of the help."""
    found = {}
    widget = inspector(page)
    tabs = widget.get_by_role("tab").all()
    assert len(tabs) >= 4
    for tab in tabs:
        tab.click()
        found[tab.inner_text()] = violations(page, within)
    tabs[0].click()
    filtering = widget.get_by_role("searchbox", name="Filter rows")
    filtering.fill("no such row")
    widget.get_by_role("row", name="No row matches.").wait_for()
    found["no row"] = violations(page, within)
    filtering.fill("")
    widget.get_by_role("button", name="Keyboard help").click()
    widget.get_by_role("dialog").wait_for()
    found["help"] = violations(page, within)
    page.keyboard.press("Escape")
    return {place: lines for place, lines in found.items() if lines}


@pytest.mark.parametrize("width", [1500, 560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_exported_page(open_page: Callable[..., Any], tmp_path: Path, scheme: str, width: int) -> None:
    _, before, after = story()
    path = tmp_path / "page.html"
    to_html(audit_snapshot(after, baseline=before), path)
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.goto(path.as_uri())
    page.locator(f"[data-theme={scheme}]").wait_for()
    page.get_by_role("row", name=re.compile("LEFTOVER")).click()
    assert violations_by_place(page) == {}


def test_a_widget_in_jupyterlab(open_notebook: Callable[..., Any]) -> None:
    notebook = open_notebook("accessibility", [SETUP, OPERATIONS])
    page = notebook.page
    red_row(notebook).click()
    widget = inspector(page)
    for theme in ("Light", "Dark"):
        page.evaluate(f"window.jupyterapp.commands.execute('apputils:change-theme', {{ theme: 'JupyterLab {theme}' }})")
        page.locator(f"[data-theme={theme.lower()}]").wait_for()
        assert violations_by_place(page, WIDGET) == {}
        widget.get_by_role("row", name=re.compile("LEFTOVER")).click()
        widget.get_by_role("button", name="Delete correctly…").click()
        widget.get_by_role("dialog").get_by_text("Nothing has been done yet").wait_for()
        assert violations(page, WIDGET) == []
        page.keyboard.press("Escape")
    page.set_viewport_size({"width": 800, "height": 900})
    page.locator("[data-size=tiny]").wait_for()
    assert violations_by_place(page, WIDGET) == {}


def test_a_fault_is_seen(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """Behind a shadow root, too, and of contrast, too."""
    path = tmp_path / "page.html"
    to_html(audit_snapshot(story()[2]), path)
    page = open_page()
    page.goto(path.as_uri())
    root = inspector(page)
    root.wait_for()
    root.evaluate("(root) => { root.querySelector('button').style.color = '#ccc'; }")
    root.evaluate("(root) => root.querySelector('[role=row]').removeAttribute('role')")
    assert {line.partition(":")[0] for line in violations(page)} >= {"color-contrast", "aria-required-parent"}
