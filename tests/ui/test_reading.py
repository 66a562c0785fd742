"""The widget and Python, in a real JupyterLab: what is selected on one side is selected on the other."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.ui.leftover import COPY, OPERATIONS, SETUP, inspector, red_row

pytestmark = pytest.mark.ui

ODD = """
class Odd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Identity())])
        self.named = torch.nn.ModuleDict({"my adapter": torch.nn.Linear(2, 3)})
        self.add_module("class", torch.nn.Linear(3, 2))
        self.add_module("naïve \\u202e name", torch.nn.Identity())
odd = Odd()
view = peftviz.Inspector(peftviz.capture(odd))
view
"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Callable[..., Any]) -> Any:
    return open_notebook("reading", [SETUP, OPERATIONS, ODD])


def test_python_and_the_widget_select_the_same(notebook: Any) -> None:
    page = notebook.page
    red_row(notebook, first=True)
    widget = inspector(page).first
    assert notebook.run("print(session.inspector.selection.paths)") == f"('{COPY}',)"

    # From the widget to Python.
    tree = widget.get_by_role("treegrid")
    tree.get_by_role("row", name=re.compile("LEFTOVER")).click()
    page.keyboard.press("Home")
    tree.get_by_role("row", name=re.compile("0–2")).click()
    paths = [f"base_model.model.model.layers.{layer}" for layer in range(3)]
    page.wait_for_timeout(300)  # the message to the kernel
    assert notebook.run("print(*session.inspector.selection)").split() == paths, "all that the row stands for"
    told = "frame = session.inspector.selection.to_frame(); print(len(frame), set(frame['type_after']))"
    assert notebook.run(told) == "3 {'LlamaDecoderLayer'}"

    # From Python to the widget, whatever hides the row.
    notebook.run("session.inspector.select('base_model.model.model.layers.1.mlp.up_proj.weight')")
    row = tree.locator("[role=row][aria-selected=true]:not([hidden])")
    row.get_by_text("weight").wait_for()
    crumbs = widget.get_by_role("navigation", name="Path of the selected row")
    assert crumbs.get_by_role("button").all_inner_texts()[-4:] == ["1", "mlp", "up_proj", "weight"]
    error = notebook.run("session.inspector.select('base_model.model.model.layers.1.mlp.up_prj')")
    assert "up_proj" in error
    assert notebook.our_errors() == []


def test_several_rows_from_both_sides(notebook: Any) -> None:
    page = notebook.page
    red_row(notebook, first=True)
    widget = inspector(page).first
    tree = widget.get_by_role("treegrid", name="Structure")
    chosen = tree.locator("[role=row][aria-selected=true]:not([hidden])")
    tree.get_by_role("row", name=re.compile("LEFTOVER")).click()
    page.keyboard.press("Shift+ArrowUp")
    widget.get_by_text("2 rows selected").wait_for()
    assert chosen.count() == 2
    page.wait_for_timeout(300)  # the message to the kernel
    both = notebook.run("print(*session.inspector.selection)").split()
    assert len(both) == 2
    assert COPY in both

    notebook.run("session.inspector.select([path for path in session.inspector.selection if path])")
    notebook.run(f"session.inspector.select([{COPY!r}, 'base_model.model.model.layers.1.mlp.up_proj', ''])")
    widget.get_by_text("3 rows selected").wait_for()
    assert "math" in widget.get_by_role("navigation", name="Path of the selected row").inner_text()
    assert notebook.run("print(session.inspector.selection.paths[0])") == COPY
    assert notebook.run("print(len(session.inspector.selection.to_frame()))") == "3"
    error = notebook.run("session.inspector.select(['', 'no.such.row'])")
    assert "no.such.row" in error
    assert widget.get_by_text("3 rows selected").is_visible(), "all of them or none"
    notebook.run("session.inspector.select([])")
    widget.get_by_text("rows selected").wait_for(state="hidden")
    assert chosen.count() == 0
    assert notebook.our_errors() == []


def test_any_two_states_from_both_sides(notebook: Any) -> None:
    red_row(notebook, first=True)
    widget = inspector(notebook.page).first
    steps = widget.get_by_role("navigation", name="Operations")
    versus = steps.get_by_role("combobox", name="Compare with")
    versus.select_option("1")
    widget.get_by_text("step 3 of 3 · compared with").wait_for()
    assert notebook.run("print(session.inspector.baseline)") == "1"
    notebook.run("session.inspector.baseline = None")
    widget.get_by_text("compared with").first.wait_for(state="hidden")
    assert versus.input_value() == "-1"
    notebook.run("session.inspector.compare(0, 2)")
    widget.get_by_text("step 2 of 3 · compared with watch(model)").wait_for()
    # What nobody had looked at was compared when it came into view.
    assert re.search(r"\+\d+", steps.get_by_role("listitem").nth(1).inner_text())
    assert notebook.our_errors() == []


def test_the_copied_line_of_python_reaches_the_module(notebook: Any) -> None:
    red_row(notebook, first=True)
    page = notebook.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    widget = inspector(page).last
    for path in ("layers.0.1", "named.my adapter.weight", "class", "naïve \u202e name"):
        notebook.run(f"view.select({path!r})")
        selected = widget.get_by_role("region", name="Details")
        shown = path.replace("\u202e", "\\u202e")
        selected.get_by_text(shown, exact=True).first.wait_for()
        selected.get_by_role("button", name="Copy Python").click()
        selected.get_by_text("Copied").wait_for()
        line = page.evaluate("navigator.clipboard.readText()")
        same = f"import json; path = json.loads({json.dumps(path)!r}); head, _, last = path.rpartition('.'); "
        same += f"print({line.replace('model', 'odd', 1)} is getattr(odd.get_submodule(head), last))"
        assert notebook.run(same) == "True", line
    assert notebook.our_errors() == []


def test_the_language_changes_at_once(notebook: Any) -> None:
    red_row(notebook, first=True)
    page = notebook.page
    notebook.run("peftviz.set_language('zh')")
    chinese = page.get_by_role("region", name="peftviz 检查器").first
    chinese.get_by_role("row", name=re.compile("残留")).first.wait_for()
    assert chinese.get_by_role("tab").first.inner_text() == "结构"
    notebook.run("peftviz.set_language(None)")
    inspector(page).first.get_by_role("row", name=re.compile("LEFTOVER")).wait_for()
    assert notebook.our_errors() == []
