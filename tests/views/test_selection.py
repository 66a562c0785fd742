"""Selecting rows, baselines and comparing states, from Python: what the widget is told, and what comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

import peftviz
from peftviz.core.diff import diff
from peftviz.core.timeline import Step, Timeline
from peftviz.errors import LookupFailure, PeftvizError
from peftviz.views.inspector.page import to_html
from peftviz.views.inspector.selection import row_at
from peftviz.views.inspector.steps import state_table, step_entries, step_entry
from peftviz.views.inspector.widget import Inspector
from peftviz.views.renderers.text import to_text
from peftviz.views.viewmodel.table import view_table
from tests.views.story import adapted, plain


@pytest.fixture
def timeline() -> Timeline:
    model = plain()
    states = [model.snapshot(), adapted(model, "default").snapshot(), adapted(model, "default", "math").snapshot()]
    steps = [
        Step(label, operation, before, after, baseline=states[0])
        for label, operation, before, after in zip(
            ("get_peft_model('default')", "add_adapter('math')"),
            ("get_peft_model", "add_adapter"),
            states[:-1],
            states[1:],
            strict=True,
        )
    ]
    return Timeline(states[0], steps)


def a_path(timeline: Timeline) -> str:
    return next(row.path for row in timeline.current.find("*lora_A.math*"))


def test_what_the_browser_selects_can_be_read(timeline: Timeline) -> None:
    widget = Inspector(timeline)
    assert list(widget.selection) == []
    path = a_path(timeline)
    widget._selection = {"paths": ["", path], "index": 2, "base": 1}
    assert widget.selection.paths == ("", path)
    frame = widget.selection.to_frame()
    assert list(frame["path"]) == ["", path]
    assert frame["bytes_after"][0] == timeline.current.totals.bytes
    assert frame["adapter"][1] == "math"
    assert frame["bytes_after"][1] > 0


def test_a_selection_is_of_the_comparison_that_it_was_made_in(timeline: Timeline) -> None:
    widget = Inspector(timeline)
    widget._selection = {"paths": [""], "index": 1, "base": 0}
    frame = widget.selection.to_frame()
    assert frame["bytes_before"][0] == timeline.baseline.totals.bytes
    assert frame["bytes_after"][0] == timeline.snapshots[1].totals.bytes


def test_python_selects_and_the_browser_is_told_each_time(timeline: Timeline) -> None:
    widget = Inspector(timeline)
    path = a_path(timeline)
    widget.select(path)
    assert widget.selection.paths == (path,)
    first = dict(widget._wanted)
    widget.select([path])
    assert first["paths"] == widget._wanted["paths"] == [path]
    assert widget._wanted["turn"] == first["turn"] + 1, "the reader may have gone elsewhere meanwhile"


def test_python_selects_several_rows_or_none(timeline: Timeline) -> None:
    widget = Inspector(timeline)
    paths = [row.path for row in timeline.current.find("*lora_A*.weight")][:3]
    widget.select(iter(paths))
    assert widget.selection.paths == tuple(paths)
    assert list(widget.selection.to_frame()["path"]) == paths
    with pytest.raises(LookupFailure):
        widget.select([paths[0], "no.such.path"])
    assert widget.selection.paths == tuple(paths), "all of them or none"
    widget.select([])
    assert list(widget.selection) == widget._wanted["paths"] == []


def test_a_path_that_is_nowhere_names_what_is_near(timeline: Timeline) -> None:
    widget = Inspector(timeline)
    path = a_path(timeline)
    with pytest.raises(LookupFailure) as caught:
        widget.select(path.replace("math", "meth"))
    assert path in caught.value.hint
    assert widget._wanted == {}


def test_a_path_of_the_state_before_finds_what_was_there(timeline: Timeline) -> None:
    wrapped = diff(timeline.snapshots[0], timeline.snapshots[1])
    old, new = next(
        (old, new) for old, new in wrapped.renames.items() if old and wrapped.after.find_module(old) is None
    )
    widget = Inspector(wrapped)
    widget.select(old)
    with_old = widget.selection.to_frame()
    widget.select(new)
    assert with_old.drop(columns="path").equals(widget.selection.to_frame().drop(columns="path"))


def test_every_row_is_found_by_its_path(timeline: Timeline) -> None:
    # In this story the layers are exchanged: old and new ones have the same paths.
    table = view_table(timeline.diff(1, 2))
    rows = [row for row in range(len(table)) if table.kind[row] == 0 and table.after_row[row] >= 0]
    assert len(rows) > 50
    for row in rows:
        assert row_at(table, timeline.current.module_path(int(table.after_row[row]))) == row
    assert row_at(table, "no.such.path") is None


def test_any_two_states_are_compared(timeline: Timeline) -> None:
    widget = Inspector(timeline)
    assert (widget._shown["base"], widget._shown["index"]) == (1, 2)
    widget.compare(0, 2)
    assert (widget._shown["base"], widget._shown["index"]) == (0, 2)
    widget.compare(-1, 0)
    assert (widget._shown["base"], widget._shown["index"]) == (2, 0), "backwards, too"
    with pytest.raises(LookupFailure):
        widget.compare(0, 3)
    with pytest.raises(PeftvizError, match="no timeline"):
        Inspector(timeline.current).compare(0, 1)


def test_a_baseline_stays_when_the_timeline_grows(timeline: Timeline) -> None:
    widget = Inspector(timeline)
    widget.baseline = 0
    assert widget._shown["base"] == 0
    timeline.append(Step("nothing", "step", timeline.current, timeline.current))
    widget.refresh()
    assert (widget._shown["base"], widget._shown["index"]) == (0, 3)
    widget._baseline = 1  # as the browser sets it
    assert widget.baseline == 1
    widget.baseline = None
    assert widget._shown["base"] == 2
    with pytest.raises(LookupFailure):
        widget.baseline = 9


def test_a_state_compared_with_itself_is_shown_alone(timeline: Timeline) -> None:
    assert state_table(timeline, 1, 1).summary["single"]
    assert not state_table(timeline, 0, 2).summary["single"]


def test_a_step_is_compared_when_it_is_looked_at(timeline: Timeline) -> None:
    Inspector(timeline)
    assert "diff" in vars(timeline[1]), "it is on show"
    assert "diff" not in vars(timeline[0])
    entries = step_entries(timeline, look=False)
    assert entries[1]["counts"] is None
    assert entries[2]["counts"] == timeline[1].diff.counts
    answer, _ = Inspector(timeline)._answer({"ask": "step", "index": 1})
    assert answer["step"] == step_entry(timeline[0])
    assert answer["step"]["counts"]["added"] > 0
    assert step_entries(timeline, look=False)[1]["counts"] == timeline[0].diff.counts


@pytest.mark.parametrize("index", [0, 3, -1, True, "1", None])
def test_no_other_step_is_looked_at(timeline: Timeline, index: object) -> None:
    with pytest.raises(PeftvizError, match="no such step"):
        Inspector(timeline)._answer({"ask": "step", "index": index})


def test_a_saved_session_is_shown_as_it_was(timeline: Timeline, tmp_path: Path) -> None:
    path = timeline.save(tmp_path / "session.peftviz")
    again = peftviz.Timeline.load(path)
    assert step_entries(again) == step_entries(timeline)
    assert to_text(again) == to_text(timeline)
    assert Inspector(again)._shown == Inspector(timeline)._shown
    with pytest.raises(PeftvizError) as caught:
        peftviz.load(path)
    assert "peftviz.Timeline.load(path)" in caught.value.hint


def test_what_is_shown_becomes_a_page(timeline: Timeline, tmp_path: Path) -> None:
    page = Inspector(timeline).to_html(tmp_path / "page.html")
    assert page == to_html(timeline) == (tmp_path / "page.html").read_text(encoding="utf-8")
