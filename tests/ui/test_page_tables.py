"""Tables of an exported page, in a real browser: groups, columns, selection, keys; how it suits each reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from peftviz.core.diff import diff
from peftviz.core.timeline import Timeline
from peftviz.views.formatting import format_bytes
from tests.views.story import adapted, plain

pytestmark = pytest.mark.ui


def rows(page: Any) -> list[str]:
    found: list[str] = page.locator(".layer [role=row]:not([hidden])").evaluate_all(
        """(rows) => rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
          .map((row) => [...row.children].map((cell) => cell.innerText.trim()).join('|'))"""
    )
    return found


def test_tables_group_sort_and_add_up(open_export: Callable[..., Any], timeline: Timeline) -> None:
    page = open_export()
    page.get_by_role("tab", name="Memory", exact=True).click()
    table = page.get_by_role("treegrid", name="Memory")
    total = table.locator(".sumline [role=row]")
    after = timeline.current.totals.bytes
    assert format_bytes(after) in total.inner_text()
    assert table.get_by_role("row").filter(has_text="◆ leftover").count() == 1
    for name in ("adapter", "dtype", "device", "layer", "module class", "role"):
        page.get_by_role("combobox", name="Group").select_option(label=f"by {name}")
        assert format_bytes(after) in total.inner_text(), name
    # The largest first; a click on the title turns it round.
    title = table.get_by_role("columnheader", name="Memory after")
    assert title.get_attribute("aria-sort") == "descending"
    place = table.get_by_role("columnheader").all_inner_texts().index("Memory after")
    downwards = [line.split("|")[place] for line in rows(page)]
    assert len(downwards) > 2
    title.click()
    assert [line.split("|")[place] for line in rows(page)] == downwards[::-1]
    # A group opens, and its tensors lead back to the tree.
    first = table.locator("[role=row][aria-level='1']").first
    first.click()
    assert first.get_attribute("aria-expanded") == "true"
    tensor = table.locator("[role=row][aria-level='2']:not([hidden])").first
    path = tensor.get_by_role("rowheader").get_attribute("aria-label")
    tensor.click()
    page.get_by_role("tab", name="Structure").click()
    page.locator("[role=treegrid] [aria-selected=true]:not([hidden])").wait_for()
    assert page.get_by_role("region", name="Details").get_by_text(path.split()[0], exact=True).is_visible()


def test_columns_are_chosen(open_export: Callable[..., Any]) -> None:
    page = open_export()
    page.get_by_role("tab", name="Parameters").click()
    table = page.get_by_role("grid", name="Parameters")
    titles = lambda: table.get_by_role("columnheader").all_inner_texts()  # noqa: E731 - read often
    assert "Adapter" not in titles()
    page.get_by_role("button", name="View").click()
    choices = page.get_by_role("group", name="View")
    choices.get_by_role("checkbox", name="Adapter").check()
    choices.get_by_role("checkbox", name="Shape").uncheck()
    assert "Adapter" in titles()
    assert "Shape" not in titles()
    page.mouse.click(5, 5)
    assert choices.is_hidden()
    table.get_by_role("columnheader", name="Adapter").click()
    first = rows(page)[0].split("|")[titles().index("Adapter")]
    assert first == "math"


def test_rows_are_selected_together(open_export: Callable[..., Any]) -> None:
    page = open_export()
    tree = page.get_by_role("treegrid", name="Structure")
    assert tree.get_attribute("aria-multiselectable") == "true"
    details = page.get_by_role("region", name="Details")

    def chosen() -> list[int]:
        found: list[int] = tree.locator("[role=row][aria-selected=true]:not([hidden])").evaluate_all(
            "(rows) => rows.map((row) => Number(row.ariaRowIndex)).sort((a, b) => a - b)"
        )
        return found

    def row(index: int) -> Any:
        return tree.locator(f"[role=row][aria-rowindex='{index}']:not([hidden]) .twisty ~ *").first

    page.get_by_role("searchbox", name="Filter rows").fill("lora_A")  # no rows that stand for what is left out
    tree.locator("[role=row][aria-rowindex='2']").first.wait_for()
    page.wait_for_timeout(300)  # the filter waits for the next letter
    row(3).click()
    assert chosen() == [3]
    row(6).click(modifiers=["Shift"])
    assert chosen() == [3, 4, 5, 6]
    assert details.get_by_text("4 rows selected").is_visible()
    row(4).click(modifiers=["Control"])
    assert chosen() == [3, 5, 6], "one less"
    row(4).click(modifiers=["Control"])
    row(6).click()
    assert chosen() == [6], "alone"
    assert not details.get_by_text("rows selected").is_visible()

    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Shift+ArrowUp")
    assert chosen() == [4, 5, 6]
    page.keyboard.press("Shift+ArrowDown")
    assert chosen() == [5, 6], "back again"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert chosen() == [5, 6], "the keyboard goes on alone"
    page.keyboard.press("Control+ ")
    assert chosen() == [3, 5, 6]
    page.keyboard.press("Shift+Home")
    assert chosen() == [2, 3], "from where the last one was chosen"
    page.keyboard.press("Control+a")
    shown = int(tree.get_attribute("aria-rowcount")) - 1
    assert details.get_by_text(f"{shown} rows selected").is_visible()
    assert page.evaluate("getSelection().toString()") == ""


def test_several_paths_are_copied_a_line_each(open_export: Callable[..., Any]) -> None:
    page = open_export()
    page.evaluate("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    page.get_by_role("tab", name="Parameters").click()
    table = page.get_by_role("grid", name="Parameters")
    table.get_by_role("row").nth(2).click()
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("c")
    page.get_by_role("button", name="Copied").wait_for()
    paths = page.evaluate("copied").splitlines()
    assert len(paths) == 2
    page.keyboard.press("y")
    page.wait_for_function("copied.startsWith('model.')")
    lines = page.evaluate("copied").splitlines()
    assert len(lines) == 2
    assert all(line.endswith(path.rpartition(".")[2]) for line, path in zip(lines, paths, strict=True))


@pytest.mark.parametrize("tab", ["Structure", "Parameters"])
def test_a_selected_row_is_in_view_again_after_other_tabs(open_export: Callable[..., Any], tab: str) -> None:
    page = open_export(viewport={"width": 1500, "height": 560})
    page.get_by_role("button", name="Only changes").click()
    page.get_by_role("tab", name=tab).click()
    grid = page.locator(".panel .grid")
    grid.get_by_role("row").nth(3).click()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    chosen = grid.locator("[role=row][aria-selected=true]:not([hidden])")
    assert grid.locator(".scroller").evaluate("(scroller) => scroller.scrollTop") > 0
    for other in ("Findings", "Memory"):
        page.get_by_role("tab", name=other).first.click()
        page.get_by_role("tab", name=tab).click()
        assert page.get_by_role("tab", name=tab).evaluate("(tab) => tab.matches(':focus')"), "it has the focus still"
        edges = "(part) => [part.getBoundingClientRect().top, part.getBoundingClientRect().bottom]"
        top, bottom = chosen.evaluate(edges)
        first, last = grid.locator(".scroller").evaluate(edges)
        assert first <= top < bottom <= last
        assert grid.locator(".scroller").evaluate("(scroller) => scroller.scrollTop") > 0


def test_a_view_that_was_hidden_for_a_moment_is_where_it_was(open_export: Callable[..., Any]) -> None:
    page = open_export(viewport={"width": 1500, "height": 560})
    scroller = page.locator(".panel .scroller")
    assert scroller.evaluate("(scroller) => scroller.scrollTop") > 0, "the leftover is far below"
    # As JupyterLab does when its theme changes: the news of the last scrolling comes when there is no position left.
    scroller.evaluate("(part) => { part.scrollTop -= 1; part.getRootNode().host.style.display = 'none'; }")
    page.wait_for_timeout(200)
    page.locator(".peftviz-host").evaluate("(host) => { host.style.display = 'block'; }")
    page.wait_for_timeout(200)
    assert page.get_by_role("row", name=re.compile("LEFTOVER")).is_visible()
    assert scroller.evaluate("(scroller) => scroller.scrollTop") > 0


def test_the_help_tells_the_keys_of_each_part(open_export: Callable[..., Any]) -> None:
    page = open_export()
    page.get_by_role("tab", name="Memory map").click()
    page.keyboard.press("?")
    helping = page.get_by_role("dialog")
    titles = helping.get_by_role("heading", level=3).all_inner_texts()
    assert titles[0] == "Wherever the focus is"
    assert {"Memory map", "Graph", "Filter rows"} < set(titles)
    assert helping.get_by_text("zoom out").is_visible()


def test_a_long_name_gives_way_with_an_ellipsis(open_export: Callable[..., Any]) -> None:
    first = plain()
    change = diff(first.snapshot(), adapted(first, "an adapter whose name has no end in sight").snapshot())
    page = open_export(change, viewport={"width": 1000, "height": 700})
    assert page.locator(".layer").get_by_text("an adapter whose").count() > 0
    cut = page.locator(".layer [role=row]:not([hidden]) .cell.name").evaluate_all(
        """(cells) => cells.filter((cell) => [...cell.children].some((part) =>
            part.getBoundingClientRect().right > cell.getBoundingClientRect().right + 1)).map((cell) => cell.title)"""
    )
    assert cut == []


@pytest.mark.parametrize(("locale", "tab"), [("zh-CN", "结构"), ("en-GB", "Structure"), ("fr-FR", "Structure")])
def test_the_page_speaks_the_language_of_its_reader(open_export: Callable[..., Any], locale: str, tab: str) -> None:
    page = open_export(locale=locale)
    assert page.get_by_role("tab").first.inner_text() == tab
    if locale == "zh-CN":
        assert page.get_by_text("仅看变更").is_visible()
        shown = page.locator(".peftviz").inner_text()
        assert not re.search(r"\b(Only changes|Compare with|leftover|What to do)\b", shown)
        assert "head 的训练副本在其适配器删除后仍然存在。" in shown, "findings, too"
        assert not re.search(r"outlived|removes it", shown)


def test_nothing_moves_for_readers_who_want_it_calm(open_export: Callable[..., Any]) -> None:
    page = open_export(reduced_motion="reduce")
    moving = page.locator(".peftviz").evaluate(
        """(root) => [...root.querySelectorAll('*')].filter((part) => {
          const style = getComputedStyle(part);
          return parseFloat(style.transitionDuration) > 0 || style.animationName !== 'none';
        }).length"""
    )
    assert moving == 0


@pytest.mark.parametrize("width", [1500, 1000, 640, 375])
def test_nothing_sticks_out_at_any_width(open_export: Callable[..., Any], width: int) -> None:
    page = open_export(viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    out = page.locator(".peftviz").evaluate(
        """(root) => { const edge = root.getBoundingClientRect().right + 1;
          return [...root.querySelectorAll('.tools > *, .header > *, .tabs')].filter((part) => part.checkVisibility()
            && part.getBoundingClientRect().right > edge).map((part) => part.className) }"""
    )
    assert out == []
