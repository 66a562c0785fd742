"""What the buttons of the widget do, in a real JupyterLab: to the model, and to what the reader is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ui.leftover import COPY, HAS_COPY, OPERATIONS, SETUP, inspector, red_row

pytestmark = pytest.mark.ui

OLD_PEFT = "0.15.1"
CLASSIC = """
model = get_peft_model(base, LoraConfig(**config))
model.add_adapter("math", LoraConfig(**config))
model.delete_adapter("math")
import peft
print(peft.__version__)
"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Callable[..., Any]) -> Any:
    """One notebook, the cells of which are run anew for each test."""
    return open_notebook("actions", [SETUP, OPERATIONS])


def test_repair_shows_its_plan_and_mends(notebook: Any) -> None:
    red_row(notebook).click()
    widget = inspector(notebook.page)
    widget.get_by_role("button", name="Repair…").click()
    dialog = widget.get_by_role("dialog", name="Plan: repair the model")
    dialog.get_by_text(re.compile("PV101 .*modules_to_save.math")).wait_for()
    assert notebook.run(HAS_COPY) == "True", "looking at a plan must change nothing"
    dialog.get_by_role("button", name="Repair now").click()
    widget.get_by_role("heading", name="✓ Done").wait_for()
    widget.get_by_role("button", name="Close").click()
    widget.get_by_text("nothing left over").wait_for()
    assert notebook.run(HAS_COPY) == "False"
    assert notebook.run("print(session.timeline[-1].operation)") == "peftviz.repair"
    assert notebook.run("print(list(session.model.peft_config))") == "['default']"
    assert notebook.our_errors() == []


def test_what_a_variable_holds_is_said(notebook: Any) -> None:
    red_row(notebook).click()
    notebook.run("held = model.base_model.model.lm_head.modules_to_save['math']")
    widget = inspector(notebook.page)
    widget.get_by_role("button", name="Delete correctly…").click()
    widget.get_by_role("button", name="Delete now").click()
    widget.get_by_role("heading", name=re.compile("^⚠ Done, but 1 tensor cannot be freed yet")).wait_for()
    report = widget.get_by_role("dialog").inner_text()
    assert f"still alive: {COPY}.weight" in report
    assert "no trace of 'math' is left" in report
    assert notebook.run(HAS_COPY) == "False", "the model lets go of it all the same"
    assert notebook.our_errors() == []


def test_an_adapter_deleted_meanwhile(notebook: Any) -> None:
    red_row(notebook).click()
    widget = inspector(notebook.page)
    # In a cell, in a way that no session hears of.
    notebook.run("del model.base_model.model.lm_head.modules_to_save['math']")
    assert notebook.run(HAS_COPY) == "False"
    steps = widget.get_by_role("navigation", name="Operations").get_by_role("listitem")
    before = steps.count()
    widget.get_by_role("button", name="Delete correctly…").click()
    alert = widget.get_by_role("alert")
    alert.wait_for()
    what, *more = alert.inner_text().splitlines()
    assert "'math'" in what
    assert [line.partition(":")[0] for line in more if line] == ["Where", "What to do"]
    assert widget.get_by_role("heading", name="✗ That did not work").is_visible()
    assert widget.get_by_role("button", name="Delete now").count() == 0
    widget.get_by_role("button", name="Close").click()
    assert steps.count() == before, "what failed before it began is no step"

    widget.get_by_role("button", name="↻ Capture").click()
    widget.get_by_text("nothing left over").wait_for()
    assert steps.count() == before + 1
    assert widget.get_by_role("row", name=re.compile("LEFTOVER")).count() == 0
    assert widget.get_by_role("row", name=re.compile("modules_to_save.math.*removed")).is_visible()
    assert notebook.our_errors() == []


@pytest.mark.upstream
def test_the_bug_itself_on_an_older_peft(open_notebook: Callable[..., Any]) -> None:
    site = Path(__file__).parents[2] / ".upstream" / f"peft-{OLD_PEFT}"
    if not site.is_dir():
        pytest.skip(f"PEFT {OLD_PEFT} is not there: run tools/install_upstream.py")
    notebook = open_notebook("classic", [SETUP, CLASSIC], kernel=f"peft-{OLD_PEFT}")
    red = red_row(notebook)
    assert "modules_to_save.math" in red.text_content()
    assert notebook.run("print(peft.__version__)") == OLD_PEFT
    assert notebook.run(HAS_COPY) == "True"
    red.click()
    widget = inspector(notebook.page)
    widget.get_by_role("button", name="Delete correctly…").click()
    widget.get_by_role("button", name="Delete now").click()
    widget.get_by_role("heading", name="✓ Done").wait_for()
    assert "freed 1 tensor" in widget.get_by_role("dialog").inner_text()
    widget.get_by_role("button", name="Close").click()
    widget.get_by_text("nothing left over").wait_for()
    assert notebook.run(HAS_COPY) == "False"
    assert notebook.run("print(peftviz.audit(session.model).clean, list(model.peft_config))") == "True ['default']"
    assert notebook.outside_requests() == []
    assert notebook.our_errors() == []
