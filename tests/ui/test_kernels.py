"""What a reader can do while a cell runs, after the kernel died under it, and after it was started anew."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.ui.leftover import OPERATIONS, SETUP, filter_rows, inspector, red_row

pytestmark = pytest.mark.ui

STATUS = "window.jupyterapp.shell.currentWidget.context.sessionContext.session?.kernel?.status"
RESTART = "window.jupyterapp.shell.currentWidget.context.sessionContext.restartKernel()"
SLEEP = """() => {
  const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
  kernel.requestExecute({ code: 'import time\\ntime.sleep(600)' });
}"""


@pytest.fixture(scope="module")
def notebook(open_notebook: Callable[..., Any]) -> Any:
    """One notebook, the cells of which are run anew for each test."""
    return open_notebook("kernels", [SETUP, OPERATIONS])


def ask_for_a_plan(widget: Any) -> Any:
    widget.get_by_role("button", name="Delete correctly…").click()
    return widget.get_by_role("dialog")


def read_it(widget: Any) -> None:
    """What needs no kernel: the filter, the tabs, and the way from a finding to its row."""
    filter_rows(widget, "lora_A.math", found="removed")
    widget.get_by_role("tab", name="Parameters").click()
    widget.get_by_role("grid", name="Parameters").get_by_role("row", name=re.compile("lm_head")).first.wait_for()
    widget.get_by_role("tab", name=re.compile("Findings")).click()
    widget.get_by_role("button", name=re.compile("PV101")).click()
    widget.get_by_role("row", name=re.compile("LEFTOVER"), selected=True).wait_for()


def test_a_kernel_that_was_started_anew(notebook: Any) -> None:
    red_row(notebook).click()
    widget = inspector(notebook.page)
    notebook.page.evaluate(RESTART)
    notebook.page.wait_for_function(f"{STATUS} === 'idle'")
    read_it(widget)
    dialog = ask_for_a_plan(widget)
    dialog.get_by_text("The kernel cannot be reached").wait_for()
    assert dialog.get_by_text("Run the cell again").is_visible()
    dialog.get_by_role("button", name="Close").click()

    red_row(notebook).click()
    ask_for_a_plan(widget).get_by_text("Nothing has been done yet").wait_for()
    notebook.page.keyboard.press("Escape")
    assert notebook.our_errors() == []


def test_a_kernel_that_dies_under_a_running_cell(notebook: Any) -> None:
    page = notebook.page
    red_row(notebook).click()
    widget = inspector(page)
    process = int(notebook.run("import os; print(os.getpid())"))
    page.evaluate(SLEEP)
    page.wait_for_function(f"{STATUS} === 'busy'")
    read_it(widget)
    dialog = ask_for_a_plan(widget)
    dialog.get_by_text("Waiting for the kernel").wait_for()

    os.kill(process, signal.SIGKILL)
    dialog.get_by_text("The kernel cannot be reached").wait_for()
    assert dialog.get_by_role("button", name="Delete now").count() == 0
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Ok", exact=True).click()  # JupyterLab tells it, too
    read_it(widget)
    assert notebook.outside_requests() == []
    assert notebook.our_errors() == []
