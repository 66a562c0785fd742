"""One widget, shown twice: what is done in one view is seen in both, and each is read on its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.ui.leftover import HAS_COPY, OPERATIONS, SETUP, delete_it, inspector, red_row

pytestmark = pytest.mark.ui


def test_two_views_of_one_widget(open_notebook: Callable[..., Any]) -> None:
    notebook = open_notebook("two-views", [SETUP, OPERATIONS, "session.inspector"])
    page = notebook.page
    red_row(notebook, first=True)
    views = inspector(page)
    first, second = views.nth(0), views.nth(1)
    for view in (first, second):
        view.get_by_role("row", name=re.compile("LEFTOVER")).wait_for()

    # A filter, and the state that is looked at, belong to the view.
    rows = second.get_by_role("treegrid").get_attribute("aria-rowcount")
    first.get_by_role("searchbox", name="Filter rows").fill("lora_A.math")
    first.get_by_role("row", name=re.compile("LEFTOVER")).wait_for(state="hidden")
    assert second.get_by_role("searchbox", name="Filter rows").input_value() == ""
    assert second.get_by_role("treegrid").get_attribute("aria-rowcount") == rows
    first.get_by_role("searchbox", name="Filter rows").fill("")
    first.get_by_role("navigation", name="Operations").get_by_role("listitem").nth(1).get_by_role("button").click()
    first.get_by_text("step 1 of 3").wait_for()
    assert second.get_by_text("step 3 of 3").is_visible()

    # What is done in one is seen in both.
    delete_it(second)
    first.get_by_text("nothing left over").wait_for()
    for view in (first, second):
        view.get_by_text("step 4 of 4").wait_for()
        assert view.get_by_role("dialog").count() == 0
    assert notebook.run(HAS_COPY) == "False"
    assert notebook.run("print(len(session.timeline))") == "4"

    # A view that is closed takes nothing with it.
    page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.at(-1).model.sharedModel.setOutputs([])")
    second.wait_for(state="detached")
    notebook.run("model.add_adapter('third', LoraConfig(**config))")
    first.get_by_text("step 5 of 5").wait_for()
    assert notebook.our_errors() == []
