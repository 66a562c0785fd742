"""The exported page in a real browser, from `file://`: it works, asks nothing of anyone, and runs no name as code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.views.inspector.page import to_html
from tests.views.story import adapted, plain, story

pytestmark = pytest.mark.ui

EVIL = "<img src=x onerror=document.title='owned'>\u202e"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1500, "height": 800}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    context.close()


def watched(page: Any) -> tuple[list[str], list[str]]:
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return requests, complaints


def test_page_from_a_file(page: Any, tmp_path: Path) -> None:
    before = plain()
    path = tmp_path / "page.html"
    to_html(diff(before.snapshot(), adapted(before, "default", EVIL).snapshot()), path)
    requests, complaints = watched(page)
    page.goto(path.as_uri())
    grid = page.get_by_role("treegrid", name="Structure")
    grid.get_by_role("row", name=re.compile("wrapped")).first.wait_for()
    page.get_by_role("searchbox", name="Filter rows").fill("onerror")
    hit = grid.get_by_role("row").filter(has_text="onerror").first
    hit.wait_for()
    assert "\\u202e" in hit.inner_text()
    hit.click()
    assert page.get_by_role("region", name="Details").get_by_text("onerror").count() > 0
    tabs = page.get_by_role("tab").all()
    assert len(tabs) >= 4
    for tab in tabs:
        tab.click()
        panel = page.get_by_role("tabpanel")
        assert panel.is_visible()
        assert tab.inner_text().startswith(panel.get_attribute("aria-label"))
    assert page.locator("img").count() == 0
    assert page.title() != "owned"
    assert requests == [path.as_uri()]
    assert complaints == []


def test_page_follows_the_system_and_the_width(page: Any, tmp_path: Path) -> None:
    before = plain()
    path = tmp_path / "page.html"
    to_html(diff(before.snapshot(), adapted(before, "default").snapshot()), path)
    page.goto(path.as_uri())
    root = page.get_by_role("region", name="peftviz inspector")
    root.wait_for()
    assert root.get_attribute("data-theme") == "light"
    page.emulate_media(color_scheme="dark")
    page.locator("[data-theme=dark]").wait_for()
    grid = page.get_by_role("treegrid", name="Structure")
    details = page.get_by_role("region", name="Details")
    assert details.bounding_box()["x"] > grid.bounding_box()["x"] + 300, "beside the tree"
    page.set_viewport_size({"width": 560, "height": 900})
    page.locator("[data-size=tiny]").wait_for()
    assert details.bounding_box()["y"] > grid.bounding_box()["y"] + 50, "below the tree"


ATTACK = """async () => {
  const stopped = [];
  document.addEventListener('securitypolicyviolation', (event) => stopped.push(event.effectiveDirective));
  await fetch('https://example.org/').catch(() => undefined);
  const parts = { img: { src: 'https://example.org/a.png' }, iframe: { src: 'https://example.org/' },
                  script: { textContent: 'document.title = "owned"' } };
  for (const [name, given] of Object.entries(parts)) {
    document.body.append(Object.assign(document.createElement(name), given));
  }
  await new Promise((later) => setTimeout(later, 200));
  return stopped;
}"""


def test_the_policy_of_the_page_holds(page: Any, tmp_path: Path) -> None:
    """Nothing that got into the page could ask a host for anything, or run."""
    path = tmp_path / "page.html"
    to_html(story()[1], path)
    failed: list[str] = []
    sent: list[str] = []
    page.on("requestfailed", lambda request: failed.append(f"{request.url} {request.failure}"))
    page.on("requestfinished", lambda request: sent.append(request.url))
    page.goto(path.as_uri())
    page.get_by_role("treegrid", name="Structure").wait_for()
    assert set(page.evaluate(ATTACK)) >= {"connect-src", "img-src", "frame-src", "script-src-elem"}
    assert page.title() != "owned"
    assert sent == [path.as_uri()]
    assert all(line.endswith("csp") for line in failed), "none of them has left"


def test_page_without_script_shows_text(browser: Any, tmp_path: Path) -> None:
    before = plain()
    path = tmp_path / "page.html"
    to_html(diff(before.snapshot(), adapted(before, "default").snapshot()), path)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert "lora_A" in page.locator("pre").inner_text()
    context.close()


CUT = """(root) => [...root.querySelectorAll('.row:not([hidden]) .cell')]
  .filter((cell) => [cell, ...cell.querySelectorAll('.amount, code:last-of-type, .pill')]
    .some((part) => part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).display !== 'inline'))
  .map((cell) => `${cell.className}: ${cell.textContent}`)
  .filter((text) => !text.startsWith('cell type'))"""


@pytest.mark.parametrize("width", [1500, 1300, 1100, 820, 620])
def test_columns_are_as_wide_as_their_text(page: Any, tmp_path: Path, width: int) -> None:
    _, before, after = story()
    path = tmp_path / "page.html"
    to_html(audit_snapshot(after, baseline=before), path)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path.as_uri())
    root = page.get_by_role("region", name="peftviz inspector")
    grid = page.get_by_role("treegrid", name="Structure")
    red = grid.get_by_role("row", name=re.compile("LEFTOVER"))
    red.wait_for()
    assert root.evaluate(CUT) == []
    titles = grid.get_by_role("columnheader").all_inner_texts()
    assert "Device" not in titles, "all rows are on one"
    assert root.get_by_text("memory on cpu").is_visible()
    assert ("✓ still trainable" in red.inner_text()) == ("Trainable" in titles)
    assert {"Module", "Change", "Memory"} <= set(titles)
    assert grid.evaluate("(grid) => grid.scrollWidth <= grid.clientWidth")


def test_short_windows_scroll(page: Any, tmp_path: Path) -> None:
    """At 200 % a page has a quarter of the room: nothing may lie over anything."""
    _, before, after = story()
    path = tmp_path / "page.html"
    to_html(audit_snapshot(after, baseline=before), path)
    page.set_viewport_size({"width": 750, "height": 400})
    page.goto(path.as_uri())
    page.get_by_role("treegrid", name="Structure").wait_for()
    panel = page.get_by_role("tabpanel", name="Structure").bounding_box()
    details = page.get_by_role("region", name="Details").bounding_box()
    bars = page.get_by_role("region", name="Memory by role").bounding_box()
    assert panel["height"] > 90  # some rows
    assert panel["y"] + panel["height"] <= details["y"] + 1
    assert details["y"] + details["height"] <= bars["y"] + 1


BAD_ROWS = """(grid) => [...grid.querySelectorAll('[role=row]:not([hidden])')].filter((row) =>
  row.closest('[role]:not([role=row], [role=presentation])').role !== 'rowgroup'
  || row.children.length !== Number(grid.ariaColCount)
  || [...row.children].some((cell) => !['gridcell', 'rowheader', 'columnheader'].includes(cell.role))
).map((row) => row.outerHTML)"""


def test_rows_and_cells_have_their_roles(page: Any, tmp_path: Path) -> None:
    _, before, after = story()
    path = tmp_path / "page.html"
    to_html(audit_snapshot(after, baseline=before), path)
    page.goto(path.as_uri())
    root = page.get_by_role("region", name="peftviz inspector")
    page.get_by_role("row", name=re.compile("LEFTOVER")).click()
    for tab in page.get_by_role("tab").all():
        tab.click()
        assert page.get_by_role("tab", selected=True).count() == 1
        for grid in page.locator("[role=grid], [role=treegrid]").all():
            assert grid.evaluate(BAD_ROWS) == []
            assert grid.locator("[role=row][tabindex='0']:not([hidden])").count() == 1, "one stop for the Tab key"
    assert root.locator("main, header, footer, aside").count() == 0, "the page around it has these"
