"""Reading a comparison on an exported page, in a real browser: panes, context, details, steps, any two states."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import expect

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.core.timeline import Timeline
from peftviz.views.formatting import format_bytes
from tests.views.story import plain

pytestmark = pytest.mark.ui


def go_to_step(page: Any, number: int) -> None:
    page.get_by_role("navigation").first.get_by_role("listitem").nth(number).get_by_role("button").click()
    page.locator("[aria-current=step]").nth(0).wait_for()


def test_before_and_after_stand_beside_each_other(open_export: Callable[..., Any]) -> None:
    page = open_export()
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


def test_unchanged_rows_are_left_out_and_come_when_asked(open_export: Callable[..., Any]) -> None:
    before = plain(9)
    after = before.copy()
    after.root.children["model"].children["layers"].children["4"].training = True
    page = open_export(diff(before.snapshot(), after.snapshot()))
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


def test_breadcrumbs_lead_up_and_keys_lead_on(open_export: Callable[..., Any]) -> None:
    page = open_export()
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


def test_details_of_a_leftover_tell_first_the_steps_and_lead_there(open_export: Callable[..., Any]) -> None:
    page = open_export()
    page.locator(".verdict").click()
    evidence = page.get_by_role("region", name="Details").get_by_role("group").filter(has_text="Evidence · PV101")
    assert evidence.locator("dt").all_inner_texts()[:2] == ["came with", "since"]
    assert evidence.locator("dd").first.inner_text().strip() == "2 · add_adapter('math')"
    evidence.get_by_role("button", name="add_adapter('math')").click()
    page.locator(".header").get_by_text("step 2 of 3").wait_for()


def test_details_tell_the_adapters_of_a_module(open_export: Callable[..., Any]) -> None:
    page = open_export()
    go_to_step(page, 2)
    page.get_by_role("searchbox", name="Filter rows").fill("layers.0.q_proj.lora_a")
    page.locator(".counter").get_by_text(re.compile(r"^\d / ")).wait_for()
    page.locator(".layer .row:not([hidden])").filter(has_text="8 × 64").last.click()
    table = page.get_by_role("table", name=re.compile("Adapters at"))
    assert table.get_by_role("columnheader").all_inner_texts() == ["default", "math"]
    assert table.get_by_role("row", name="r 8 8").is_visible()


def test_steps_tell_what_they_did_and_any_can_be_compared_with(
    open_export: Callable[..., Any], timeline: Timeline
) -> None:
    page = open_export()
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


def test_any_two_states_of_a_page_are_compared(open_export: Callable[..., Any]) -> None:
    page = open_export()
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


def test_a_reader_in_a_hurry_gets_the_step_and_the_comparison_asked_for(open_export: Callable[..., Any]) -> None:
    page = open_export()
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
    open_export: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peftviz.views.inspector.page._MOST_ROWS", 0)
    page = open_export()
    assert page.get_by_text("not in this page").is_visible()
    versus = page.get_by_role("combobox", name="Compare with")
    closed = versus.locator("option:disabled")
    assert [option.get_attribute("value") for option in closed.all()] == ["1", "3"]
    versus.select_option("0")
    page.get_by_text("compared with watch(model)").wait_for()


def test_the_findings_say_what_they_are_judged_against(open_export: Callable[..., Any], timeline: Timeline) -> None:
    def judged(subject: Any) -> str:
        page = open_export(subject)
        page.get_by_role("tab", name="Findings").click()
        return str(page.locator(".judged").inner_text())

    base = timeline.baseline
    steps = [replace(step, baseline=base, previous=None) for step in timeline]
    assert judged(Timeline(base, steps)).startswith("Judged against the baseline, watch(model)")
    assert judged(timeline).startswith("Judged without a baseline")
    assert judged(audit_snapshot(timeline.current)).startswith("Judged without a baseline")
    assert judged(audit_snapshot(timeline.current, baseline=base)) == "Judged against the state before."
