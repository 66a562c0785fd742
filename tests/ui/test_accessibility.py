"""axe-core in the real page: no violation in any tab, dialog, theme or width, exported or in JupyterLab."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.views.inspector.page import to_html
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


MOVING = """(root) => [...root.querySelectorAll('*')].filter((part) => {
  const { transitionDuration, animationName } = getComputedStyle(part);
  return transitionDuration !== '0s' || animationName !== 'none';
}).map((part) => part.outerHTML)"""
LOOKS = """(part) => {
  const { backgroundColor, outline, borderBottomColor } = getComputedStyle(part);
  return [backgroundColor, outline, borderBottomColor].join();
}"""


def test_what_the_system_asks_for(open_page: Callable[..., Any], tmp_path: Path) -> None:
    """Its own few colours, in which a ground tells nothing, and nothing that moves."""
    _, before, after = story()
    path = tmp_path / "page.html"
    to_html(audit_snapshot(after, baseline=before), path)
    page = open_page(forced_colors="active", reduced_motion="reduce")
    page.goto(path.as_uri())
    root = inspector(page)
    root.get_by_role("row", name=re.compile("LEFTOVER")).click()
    assert root.evaluate(MOVING) == []

    def differ(role: str, **state: bool) -> bool:
        parts = root.get_by_role(role)
        (name,) = state
        looks = [{part.evaluate(LOOKS) for part in parts.and_(root.locator(f"[aria-{name}={word}]")).all()}
                 for word in ("true", "false")]  # fmt: skip
        assert all(looks)
        return looks[0].isdisjoint(looks[1])

    assert differ("tab", selected=True)
    assert differ("button", pressed=True)
    grid = root.get_by_role("treegrid", name="Structure")
    red = grid.get_by_role("row", name=re.compile("LEFTOVER"))
    other = grid.get_by_role("row", name=re.compile("removed")).first
    shown = [red.evaluate(LOOKS), other.evaluate(LOOKS)]
    other.click()
    assert shown[1] != other.evaluate(LOOKS), "a selected row"
    assert red.evaluate(LOOKS) not in (*shown, other.evaluate(LOOKS)), "a red one that is not selected"
    assert violations_by_place(page) == {}


@pytest.mark.parametrize("size", [(750, 450), (640, 360)])
def test_at_twice_the_size(open_page: Callable[..., Any], tmp_path: Path, size: tuple[int, int]) -> None:
    """Zoomed to 200 % a window has half its width and height: everything can still be reached."""
    _, before, after = story()
    path = tmp_path / "page.html"
    to_html(audit_snapshot(after, baseline=before), path)
    page = open_page(viewport={"width": size[0], "height": size[1]}, device_scale_factor=2)
    page.goto(path.as_uri())
    root = inspector(page)
    root.get_by_role("row", name=re.compile("LEFTOVER")).click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no scrolling in two directions"
    buttons = [button for button in root.get_by_role("button").all() if button.is_visible()]
    assert len(buttons) > 5
    for button in buttons:
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
        assert 0 <= box["y"] <= size[1] - 10
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
        widget.get_by_role("tab", name=re.compile("Findings")).click()
        widget.get_by_role("button", name=re.compile("PV101")).click()
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
