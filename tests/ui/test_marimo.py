"""The same story in marimo, which keeps no comm and no notebook file of Jupyter's."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import Watched
from tests.ui.leftover import OPERATIONS, SETUP, delete_it, filter_rows, inspector
from tests.ui.servers import marimo

pytest.importorskip("marimo")
pytestmark = pytest.mark.ui

APP = """
import marimo

app = marimo.App(width="full")


@app.cell
def _():
{cells}
    session.inspector
    return (session,)


@app.cell
def _(session):
    import marimo as mo

    mo.ui.anywidget(session.inspector)
    return
"""


def test_the_leftover_is_found_and_deleted(open_page: Callable[..., Any], tmp_path: Path) -> None:
    watch = "peftviz.watch(base)"
    assert watch in SETUP
    cells = SETUP.replace(watch, "peftviz.watch(base, display=False)") + OPERATIONS
    app = tmp_path / "story.py"
    app.write_text(APP.format(cells=textwrap.indent(cells, "    ")), encoding="utf-8")
    home = tmp_path / "marimo"
    home.mkdir()
    with marimo(home, app) as server:
        watched = Watched(open_page())
        watched.page.goto(server.url)
        both = inspector(watched.page)
        both.nth(1).get_by_text("1 leftover").first.wait_for(timeout=90_000)
        assert both.count() == 2, "shown as it is, and as an element of marimo's"
        widget = both.first
        filter_rows(widget, "lora_A.math", found="removed")
        delete_it(widget)
        both.nth(1).get_by_text("nothing left over").wait_for()
        assert watched.outside_requests() == []
        assert watched.our_errors() == []
