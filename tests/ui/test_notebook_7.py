"""The same story in Notebook 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.ui.leftover import HAS_COPY, OPERATIONS, SETUP, delete_it, filter_rows, inspector, red_row

pytest.importorskip("notebook")
pytestmark = pytest.mark.ui


def test_the_leftover_is_found_and_deleted(open_notebook: Callable[..., Any]) -> None:
    notebook = open_notebook("notebook-7", [SETUP, OPERATIONS], front="notebook")
    assert "JupyterLab" not in notebook.page.title()
    red_row(notebook)
    widget = inspector(notebook.page)
    filter_rows(widget, "lora_A.math", found="removed")
    assert notebook.run(HAS_COPY) == "True"
    delete_it(widget)
    assert notebook.run(HAS_COPY) == "False"
    assert notebook.run("print(len(session.timeline), peftviz.audit(session.model).clean)") == "4 True"
    # Letters typed here are no shortcuts of the notebook: "d d" deletes a cell there.
    cells = notebook.page.locator(".jp-Cell").count()
    widget.get_by_role("searchbox", name="Filter rows").press_sequentially("dd")
    assert notebook.page.locator(".jp-Cell").count() == cells
    assert notebook.outside_requests() == []
    assert notebook.our_errors() == []
