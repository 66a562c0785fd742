"""The memory map, the graph and the menus of the inspector, in a real JupyterLab with a real kernel."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.ui.leftover import SETUP, inspector

pytestmark = pytest.mark.ui

OPERATIONS = """
model = get_peft_model(base, LoraConfig(**config))
model.add_adapter("math", LoraConfig(**config))
"""
ACTIVE = "print(model.active_adapter, [step.operation for step in session.timeline][-1])"


@pytest.fixture(scope="module")
def notebook(open_notebook: Callable[..., Any]) -> Any:
    notebook = open_notebook("pictures", [SETUP, OPERATIONS])
    notebook.run_all()
    inspector(notebook.page).get_by_role("button", name="Adapters ▾").wait_for(timeout=90_000)
    inspector(notebook.page).get_by_text("step 2 of 2").wait_for(timeout=90_000)
    return notebook


@pytest.fixture
def widget(notebook: Any) -> Any:
    found = inspector(notebook.page)
    if found.get_by_role("dialog").is_visible():
        found.get_by_role("button", name="Close").click()
    return found


def choose(widget: Any, path: str) -> None:
    """Selects a row of the tree, wherever it is."""
    widget.get_by_role("tab", name="Structure").click()
    search = widget.get_by_role("searchbox", name="Filter rows")
    shown = widget.locator(".counter").inner_text()
    search.fill(path)
    widget.locator(".counter").filter(has_not_text=shown).wait_for()  # the filter waits for the end of a word
    widget.get_by_role("treegrid").get_by_role("row", name=re.compile(re.escape(path))).first.click()
    search.fill("")


def test_the_memory_map_and_the_tree_follow_each_other(widget: Any, notebook: Any) -> None:
    choose(widget, "modules_to_save.math")
    widget.get_by_role("tab", name="Memory map").click()
    tree = widget.get_by_role("tree", name="Memory map")
    current = tree.get_by_role("treeitem")
    assert "math" in current.get_attribute("aria-label")
    assert "added" in current.get_attribute("aria-label")
    tree.focus()
    notebook.page.keyboard.press("ArrowUp")
    assert "modules_to_save" in current.get_attribute("aria-label")
    notebook.page.keyboard.press("Enter")  # zooms in
    widget.get_by_role("navigation", name="Zoomed into").get_by_role("button", name="modules_to_save").wait_for()
    details = widget.get_by_role("region", name="Details")
    assert "lm_head.modules_to_save" in details.inner_text()
    notebook.page.keyboard.press("Escape")
    notebook.page.keyboard.press("Home")
    zoomed = widget.get_by_role("navigation", name="Zoomed into").get_by_role("button")
    assert zoomed.all_inner_texts() == ["PeftModel"]
    box = tree.bounding_box()
    notebook.page.mouse.click(box["x"] + box["width"] - 8, box["y"] + 60)
    assert "lm_head" in details.inner_text()
    widget.get_by_role("tab", name="Structure").click()
    assert "lm_head" in widget.locator("[role=row][aria-selected=true]").first.inner_text()
    assert notebook.our_errors() == []


def test_the_memory_map_is_drawn_in_the_theme(widget: Any, notebook: Any) -> None:
    notebook.page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
    widget.locator("xpath=self::*[@data-theme='light']").wait_for()  # Lab remembers what an earlier test chose
    widget.get_by_role("tab", name="Memory map").click()
    canvas = widget.locator("canvas.mapcanvas")
    corner = """(canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, canvas.height - 3, 1, 1);
      return data[0] + data[1] + data[2];
    }"""
    notebook.page.wait_for_function("(canvas) => canvas.width > 100", arg=canvas.element_handle())
    assert canvas.evaluate(corner) > 600
    notebook.page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    widget.locator("xpath=self::*[@data-theme='dark']").wait_for()
    notebook.page.wait_for_timeout(500)
    assert canvas.evaluate(corner) < 200
    notebook.page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'})")
    widget.locator("xpath=self::*[@data-theme='light']").wait_for()


def test_the_graph_is_drawn_on_request_and_selects(widget: Any, notebook: Any) -> None:
    choose(widget, "lm_head")
    widget.get_by_role("tab", name="Graph").click()
    picture = widget.get_by_role("group", name="Graph")
    line = picture.get_by_role("button", name=re.compile("modules_to_save[.]math$"))
    line.last.wait_for()
    assert picture.locator("script, image, a, style, foreignObject, use, [id], [href], [onclick]").count() == 0
    line.last.click()
    assert line.last.get_attribute("aria-pressed") == "true"
    assert "modules_to_save.math" in widget.get_by_role("region", name="Details").inner_text()
    notebook.page.keyboard.press("Home")
    notebook.page.keyboard.press("Enter")
    assert "base_model.model.lm_head\n" in widget.get_by_role("region", name="Details").inner_text()
    assert notebook.our_errors() == []
    assert notebook.outside_requests() == []


def test_without_dot_the_tab_says_so_and_the_rest_works(widget: Any, notebook: Any) -> None:
    choose(widget, "lm_head")
    widget.get_by_role("tab", name="Graph").click()
    notebook.run("import os; path = os.environ['PATH']; os.environ['PATH'] = ''")
    try:
        choose(widget, "v_proj")
        widget.get_by_role("tab", name="Graph").click()
        widget.get_by_role("button", name="Draw selected").click()
        alert = widget.get_by_role("alert")
        alert.wait_for()
        assert "`dot`" in alert.inner_text()
        assert "graphviz.org" in alert.inner_text()
        with notebook.page.expect_download() as started:
            widget.get_by_role("button", name="Export ▾").click()
            widget.get_by_role("button", name="Save graph as DOT").click()
        assert started.value.suggested_filename == "peftviz.dot"
        widget.get_by_role("tab", name="Structure").click()
        assert widget.get_by_role("row").count() > 3
    finally:
        notebook.run("os.environ['PATH'] = path")


@pytest.mark.parametrize(
    ("entry", "name", "start"),
    [
        ("Save as HTML page", "peftviz.html", "<!doctype html>"),
        ("Save table as CSV", "peftviz.csv", "\ufeffpath,"),
        ("Save graph as SVG", "peftviz.svg", "<?xml"),
        ("Save graph as DOT", "peftviz.dot", "digraph"),
    ],
)
def test_exports_are_files(widget: Any, notebook: Any, entry: str, name: str, start: str) -> None:
    widget.get_by_role("button", name="Export ▾").click()
    with notebook.page.expect_download() as started:
        widget.get_by_role("button", name=entry).click()
    assert started.value.suggested_filename == name
    assert started.value.path().read_text(encoding="utf-8").startswith(start)


def test_markdown_goes_to_the_clipboard(widget: Any, notebook: Any) -> None:
    notebook.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    widget.get_by_role("button", name="Export ▾").click()
    notebook.page.keyboard.press("Enter")  # the first entry has the focus
    notebook.page.wait_for_function(
        "navigator.clipboard.readText().then((text) => text.startsWith('### `add_adapter'))"
    )


def test_switching_merging_and_disabling_show_their_plan_first(widget: Any, notebook: Any) -> None:
    def act(entry: str, confirm: str, planned: str) -> None:
        before = notebook.run("print(len(session.timeline))")
        widget.get_by_role("button", name="Adapters ▾").click()
        widget.get_by_role("button", name=entry).click()
        dialog = widget.get_by_role("dialog")
        dialog.get_by_text(re.compile(planned)).wait_for()
        assert notebook.run("print(len(session.timeline))") == before, "looking at a plan must change nothing"
        dialog.get_by_role("button", name=confirm).dblclick()  # once, however often it is pressed
        widget.get_by_role("heading", name="✓ Done").wait_for()
        widget.get_by_role("button", name="Close").click()
        assert int(notebook.run("print(len(session.timeline))")) == int(before) + 1

    act("Make “math” active…", "Make it active", "'default' -> 'math'")
    assert notebook.run(ACTIVE) == "math peftviz.set_adapter"
    act("Merge “math”…", "Merge now", "rounding error")
    assert notebook.run("print(model.base_model.model.model.layers[0].self_attn.q_proj.merged_adapters)") == "['math']"
    act("Unmerge all…", "Unmerge now", "differ from those before")
    act("Disable adapters…", "Disable now", "disable ")
    act("Enable adapters…", "Enable now", "enable ")
    act("Make “default” active…", "Make it active", "'math' -> 'default'")
    assert notebook.run(ACTIVE) == "default peftviz.set_adapter"
    assert notebook.our_errors() == []


def test_an_error_of_a_plan_has_its_three_parts_in_the_widget(widget: Any, notebook: Any) -> None:
    # In a cell, in a way that no session hears of: the widget still shows an adapter that is active no more.
    notebook.run("session._recorder.model.base_model.model.lm_head._disable_adapters = False")
    notebook.run("for m in model.modules():\n    if 'merged_adapters' in vars(m): m.merged_adapters.append('math')")
    widget.get_by_role("button", name="Adapters ▾").click()
    widget.get_by_role("button", name="Make “math” active…").click()
    alert = widget.get_by_role("alert")
    alert.wait_for()
    what, *more = [line for line in alert.inner_text().splitlines() if line]
    assert "is merged into the base weights" in what
    assert [line.partition(":")[0] for line in more] == ["Where", "What to do"]
    assert widget.get_by_role("button", name="Make it active").count() == 0
    notebook.run("for m in model.modules():\n    if 'merged_adapters' in vars(m): m.merged_adapters.clear()")


def test_a_busy_kernel_cannot_apply_twice(widget: Any, notebook: Any) -> None:
    before = int(notebook.run("print(len(session.timeline))"))
    widget.get_by_role("button", name="Adapters ▾").click()
    widget.get_by_role("button", name="Disable adapters…").click()
    confirm = widget.get_by_role("button", name="Disable now")
    confirm.wait_for()
    notebook.page.evaluate(
        """() => {
          const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
          kernel.requestExecute({ code: 'import time; time.sleep(3)', store_history: false });
        }"""
    )
    confirm.dblclick()
    widget.get_by_role("heading", name="✓ Done").wait_for()
    widget.get_by_role("button", name="Close").click()
    assert int(notebook.run("print(len(session.timeline))")) == before + 1
    assert notebook.run("print(session.timeline[-1].operation)") == "peftviz.disable_adapters"


def test_unloading_shows_its_plan_and_gives_the_base_model_back(widget: Any, notebook: Any) -> None:
    widget.get_by_role("button", name="Adapters ▾").click()
    widget.get_by_role("button", name="Unload all adapters…").click()
    widget.get_by_role("dialog").get_by_text(re.compile("unwrap ")).wait_for()
    widget.get_by_role("button", name="Unload now").click()
    widget.get_by_role("heading", name=re.compile("Done")).wait_for()
    widget.get_by_role("button", name="Close").click()
    assert notebook.run("print(session.model is base, session.timeline[-1].operation)") == "True peftviz.unload"
    widget.get_by_role("button", name="Adapters ▾").click()
    assert widget.get_by_role("button", name="There is no adapter.").is_visible()
