"""Reading a comparison in a real browser, from an exported page: panes, context, tables, steps, keys, languages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.core.timeline import Step, Timeline
from peftviz.views.formatting import format_bytes
from peftviz.views.inspector.page import to_html
from tests.views.story import adapted, half_deleted, plain

pytestmark = pytest.mark.ui


def recorded() -> Timeline:
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


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    return recorded()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path, timeline: Timeline) -> Iterator[Callable[..., Any]]:
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


def go_to_step(page: Any, number: int) -> None:
    page.get_by_role("navigation").first.get_by_role("listitem").nth(number).get_by_role("button").click()
    page.locator("[aria-current=step]").nth(0).wait_for()


def rows(page: Any) -> list[str]:
    found: list[str] = page.locator(".layer [role=row]:not([hidden])").evaluate_all(
        """(rows) => rows.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
          .map((row) => [...row.children].map((cell) => cell.innerText.trim()).join('|'))"""
    )
    return found


def test_before_and_after_stand_beside_each_other(open_page: Callable[..., Any]) -> None:
    page = open_page()
    go_to_step(page, 1)
    tree = page.get_by_role("treegrid", name="Structure")
    one_tree = int(tree.get_attribute("aria-rowcount"))
    tree.get_by_role("row").nth(2).click()
    page.keyboard.press("s")
    tree.get_by_role("columnheader", name="Before").wait_for()
    assert int(tree.get_attribute("aria-rowcount")) == one_tree, "the same rows, folded alike"
    assert tree.locator("[role=row][aria-selected=true]").count() == 1, "selected in both"
    wrapped = tree.get_by_role("row").filter(has=page.locator(".pill.wrapped")).filter(has_text="base_layer").first
    wrapped.scroll_into_view_if_needed()
    before, after = wrapped.locator(".before.name"), wrapped.locator(".after.name")
    assert before.inner_text().strip("▸▾ \n") == "q_proj", "under its old name"
    assert "base_layer" in after.inner_text()
    old, new = (
        float(cell.evaluate("(cell) => parseFloat(getComputedStyle(cell).paddingLeft)")) for cell in (before, after)
    )
    assert old < new, "at its old depth"
    added = tree.get_by_role("row").filter(has=page.locator(".pill.added")).first
    gap = added.locator(".before.name")
    assert gap.inner_text() == ""
    assert "gradient" in gap.evaluate("(cell) => getComputedStyle(cell).backgroundImage")
    assert gap.bounding_box()["y"] == added.locator(".after.name").bounding_box()["y"]


def test_unchanged_rows_are_left_out_and_come_when_asked(open_page: Callable[..., Any]) -> None:
    before = plain(9)
    after = before.copy()
    after.root.children["model"].children["layers"].children["4"].training = True
    page = open_page(diff(before.snapshot(), after.snapshot()))
    tree = page.get_by_role("treegrid", name="Structure")
    gap = tree.locator(".gap:not([hidden])").first
    gap.wait_for()
    place = gap.get_attribute("aria-rowindex")
    hidden = int(re.search(r"(\d+) unchanged", gap.inner_text()).group(1))
    assert hidden > 1
    shown = int(tree.get_attribute("aria-rowcount"))
    assert gap.get_attribute("aria-expanded") == "false"
    gap.click()
    assert "unchanged" not in tree.locator(f"[aria-rowindex='{place}']").inner_text()
    assert int(tree.get_attribute("aria-rowcount")) >= shown
    page.get_by_role("button", name="View").click()
    page.get_by_label("Around a change").last.select_option("10")
    assert tree.locator(".gap:not([hidden])").count() == 0
    page.keyboard.press("Escape")
    assert page.get_by_role("group", name="View").is_hidden()


def test_breadcrumbs_lead_up_and_keys_lead_on(open_page: Callable[..., Any]) -> None:
    page = open_page()
    crumbs = page.get_by_role("navigation", name="Path of the selected row")
    assert crumbs.get_by_role("listitem").last.inner_text() == "math"
    assert crumbs.locator("[aria-current=location]").count() == 1
    crumbs.get_by_role("button", name="lm_head").click()
    focused = page.locator("[role=row]:focus")
    assert "lm_head" in focused.inner_text()
    details = page.get_by_role("region", name="Details")
    assert "ModulesToSaveWrapper" in details.inner_text()
    page.keyboard.press("f")
    assert "LEFTOVER" in focused.inner_text()
    page.keyboard.press("p")
    assert "LEFTOVER" not in focused.inner_text()
    page.keyboard.press("F")
    assert "LEFTOVER" in focused.inner_text()
    page.keyboard.press("[")
    page.get_by_text("step 2 of 3").wait_for()
    page.keyboard.press("]")
    page.get_by_text("step 3 of 3").wait_for()


def test_details_of_a_leftover_tell_first_the_steps_and_lead_there(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.locator(".verdict").click()
    evidence = page.get_by_role("region", name="Details").get_by_role("group").filter(has_text="Evidence · PV101")
    assert evidence.locator("dt").all_inner_texts()[:2] == ["came with", "since"]
    assert evidence.locator("dd").first.inner_text().strip() == "2 · add_adapter('math')"
    evidence.get_by_role("button", name="add_adapter('math')").click()
    page.locator(".header").get_by_text("step 2 of 3").wait_for()


def test_details_tell_the_adapters_of_a_module(open_page: Callable[..., Any]) -> None:
    page = open_page()
    go_to_step(page, 2)
    page.get_by_role("searchbox", name="Filter rows").fill("layers.0.q_proj.lora_a")
    page.locator(".counter").get_by_text(re.compile(r"^\d / ")).wait_for()
    page.locator(".layer .row:not([hidden])").filter(has_text="8 × 64").last.click()
    table = page.get_by_role("table", name=re.compile("Adapters at"))
    assert table.get_by_role("columnheader").all_inner_texts() == ["default", "math"]
    assert table.get_by_role("row", name="r 8 8").is_visible()


def test_tables_group_sort_and_add_up(open_page: Callable[..., Any], timeline: Timeline) -> None:
    page = open_page()
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


def test_columns_are_chosen(open_page: Callable[..., Any]) -> None:
    page = open_page()
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


def test_rows_are_selected_together(open_page: Callable[..., Any]) -> None:
    page = open_page()
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


def test_several_paths_are_copied_a_line_each(open_page: Callable[..., Any]) -> None:
    page = open_page()
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
def test_a_selected_row_is_in_view_again_after_other_tabs(open_page: Callable[..., Any], tab: str) -> None:
    page = open_page(viewport={"width": 1500, "height": 560})
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


def test_a_view_that_was_hidden_for_a_moment_is_where_it_was(open_page: Callable[..., Any]) -> None:
    page = open_page(viewport={"width": 1500, "height": 560})
    scroller = page.locator(".panel .scroller")
    assert scroller.evaluate("(scroller) => scroller.scrollTop") > 0, "the leftover is far below"
    # As JupyterLab does when its theme changes: the news of the last scrolling comes when there is no position left.
    scroller.evaluate("(part) => { part.scrollTop -= 1; part.getRootNode().host.style.display = 'none'; }")
    page.wait_for_timeout(200)
    page.locator(".peftviz-host").evaluate("(host) => { host.style.display = 'block'; }")
    page.wait_for_timeout(200)
    assert page.get_by_role("row", name=re.compile("LEFTOVER")).is_visible()
    assert scroller.evaluate("(scroller) => scroller.scrollTop") > 0


def test_the_help_tells_the_keys_of_each_part(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.get_by_role("tab", name="Memory map").click()
    page.keyboard.press("?")
    helping = page.get_by_role("dialog")
    titles = helping.get_by_role("heading", level=3).all_inner_texts()
    assert titles[0] == "Wherever the focus is"
    assert {"Memory map", "Graph", "Filter rows"} < set(titles)
    assert helping.get_by_text("zoom out").is_visible()


def test_a_long_name_gives_way_with_an_ellipsis(open_page: Callable[..., Any]) -> None:
    first = plain()
    change = diff(first.snapshot(), adapted(first, "an adapter whose name has no end in sight").snapshot())
    page = open_page(change, viewport={"width": 1000, "height": 700})
    assert page.locator(".layer").get_by_text("an adapter whose").count() > 0
    cut = page.locator(".layer [role=row]:not([hidden]) .cell.name").evaluate_all(
        """(cells) => cells.filter((cell) => [...cell.children].some((part) =>
            part.getBoundingClientRect().right > cell.getBoundingClientRect().right + 1)).map((cell) => cell.title)"""
    )
    assert cut == []


def test_steps_tell_what_they_did_and_any_can_be_compared_with(
    open_page: Callable[..., Any], timeline: Timeline
) -> None:
    page = open_page()
    steps = page.get_by_role("navigation", name="Operations")
    added = timeline[1].diff.counts["added"]
    assert f"+{added}" in steps.get_by_role("listitem").nth(2).inner_text()
    assert "◆ 1 leftover" in steps.get_by_role("listitem").nth(3).inner_text()
    assert "1.5 s" not in steps.inner_text(), "a page of the same steps is the same page"
    versus = steps.get_by_role("combobox", name="Compare with")
    versus.select_option("0")
    page.get_by_text("compared with watch(model)").wait_for()
    assert "compared with" in steps.get_by_role("listitem").nth(0).inner_text()
    assert page.locator(".header").get_by_text(format_bytes(timeline.baseline.totals.bytes)).count() >= 1
    go_to_step(page, 2)
    page.get_by_text("step 2 of 3").wait_for()
    page.get_by_text("compared with watch(model)").wait_for()
    page.keyboard.press("b")


def test_any_two_states_of_a_page_are_compared(open_page: Callable[..., Any]) -> None:
    page = open_page()
    versus = page.get_by_role("combobox", name="Compare with")
    for index, base in ((3, 1), (1, 3), (2, 0), (2, 2)):
        go_to_step(page, index)
        versus.select_option(str(base))
        page.locator(".header").get_by_text(f"step {index} of 3").wait_for()
        assert versus.locator("option:disabled").count() == 0
        if index != base:
            expect(page.locator(".header").get_by_text("compared with")).to_have_count(int(base != index - 1))
        else:
            page.get_by_role("button", name="Side by side").wait_for(state="hidden")
    assert page.get_by_text("not in this page").is_hidden()


def test_a_reader_in_a_hurry_gets_the_step_and_the_comparison_asked_for(open_page: Callable[..., Any]) -> None:
    page = open_page()
    steps = page.get_by_role("navigation").first.get_by_role("listitem").get_by_role("button")
    versus = page.get_by_role("combobox", name="Compare with").element_handle()
    page.evaluate(
        """([first, second, versus]) => {
          first.click();
          second.click();
          versus.value = "0";
          versus.dispatchEvent(new Event("change"));
        }""",
        [steps.nth(3).element_handle(), steps.nth(2).element_handle(), versus],
    )
    page.locator(".header").get_by_text("step 2 of 3").wait_for()
    page.locator(".header").get_by_text("compared with watch(model)").wait_for()


def test_a_page_without_room_says_what_it_leaves_out(
    open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peftviz.views.inspector.page._MOST_ROWS", 0)
    page = open_page()
    assert page.get_by_text("not in this page").is_visible()
    versus = page.get_by_role("combobox", name="Compare with")
    closed = versus.locator("option:disabled")
    assert [option.get_attribute("value") for option in closed.all()] == ["1", "3"]
    versus.select_option("0")
    page.get_by_text("compared with watch(model)").wait_for()


def test_the_findings_say_what_they_are_judged_against(open_page: Callable[..., Any], timeline: Timeline) -> None:
    def judged(subject: Any) -> str:
        page = open_page(subject)
        page.get_by_role("tab", name="Findings").click()
        return str(page.locator(".judged").inner_text())

    base = timeline.baseline
    steps = [replace(step, baseline=base, previous=None) for step in timeline]
    assert judged(Timeline(base, steps)).startswith("Judged against the baseline, watch(model)")
    assert judged(timeline).startswith("Judged without a baseline")
    assert judged(audit_snapshot(timeline.current)).startswith("Judged without a baseline")
    assert judged(audit_snapshot(timeline.current, baseline=base)) == "Judged against the state before."


@pytest.mark.parametrize(("locale", "tab"), [("zh-CN", "结构"), ("en-GB", "Structure"), ("fr-FR", "Structure")])
def test_the_page_speaks_the_language_of_its_reader(open_page: Callable[..., Any], locale: str, tab: str) -> None:
    page = open_page(locale=locale)
    assert page.get_by_role("tab").first.inner_text() == tab
    if locale == "zh-CN":
        assert page.get_by_text("仅看变更").is_visible()
        shown = page.locator(".peftviz").inner_text()
        assert not re.search(r"\b(Only changes|Compare with|leftover|What to do)\b", shown)
        assert "head 的训练副本在其适配器删除后仍然存在。" in shown, "findings, too"
        assert not re.search(r"outlived|removes it", shown)


def test_nothing_moves_for_readers_who_want_it_calm(open_page: Callable[..., Any]) -> None:
    page = open_page(reduced_motion="reduce")
    moving = page.locator(".peftviz").evaluate(
        """(root) => [...root.querySelectorAll('*')].filter((part) => {
          const style = getComputedStyle(part);
          return parseFloat(style.transitionDuration) > 0 || style.animationName !== 'none';
        }).length"""
    )
    assert moving == 0


@pytest.mark.parametrize("width", [1500, 1000, 640, 375])
def test_nothing_sticks_out_at_any_width(open_page: Callable[..., Any], width: int) -> None:
    page = open_page(viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    out = page.locator(".peftviz").evaluate(
        """(root) => { const edge = root.getBoundingClientRect().right + 1;
          return [...root.querySelectorAll('.tools > *, .header > *, .tabs')].filter((part) => part.checkVisibility()
            && part.getBoundingClientRect().right > edge).map((part) => part.className) }"""
    )
    assert out == []
