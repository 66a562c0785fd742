"""Timelines: the chain of states, comparison of any two, and the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftviz.core.serialize import save, save_many
from peftviz.core.timeline import Drift, Step, Timeline
from peftviz.errors import LookupFailure, SnapshotFileError
from tests.core.stand_in import Model, Node
from tests.core.strategies import histories

texts = st.text(max_size=8)


def states(count: int) -> list[Model]:
    """A model that gets one module more in each state."""
    model = Model(Node(0))
    found = []
    for number in range(count):
        model = model.copy()
        model.root.children[f"m{number}"] = Node(model.serial())
        found.append(model)
    return found


def timeline(count: int = 3) -> Timeline:
    snapshots = [model.snapshot() for model in states(count + 1)]
    made = Timeline(snapshots[0])
    for number, after in enumerate(snapshots[1:]):
        made.append(Step(f"step {number}", "step", before=made.current, after=after, duration=number + 0.5))
    return made


drifts = st.builds(
    Drift,
    path=texts,
    difference=st.floats(0, 10),
    scale=st.floats(0, 10),
    compared=st.integers(1, 256),
)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    snapshots = [model.snapshot() for model in draw(histories(states=3))]
    made = Timeline(snapshots[0])
    for after in snapshots[1:]:
        made.append(
            Step(
                label=draw(texts),
                operation=draw(texts),
                arguments=draw(st.dictionaries(texts, texts, max_size=2)),
                warnings=tuple(draw(st.lists(texts, max_size=2))),
                error=draw(st.none() | texts),
                before=made.current,
                after=draw(st.sampled_from([after, made.current])),
                baseline=snapshots[0],
                duration=draw(st.floats(0, 10)),
                drift=tuple(draw(st.lists(drifts, max_size=2))),
            )
        )
    return made


def test_it_is_a_sequence_between_states() -> None:
    made = timeline(3)
    assert [step.label for step in made] == ["step 0", "step 1", "step 2"]
    assert made[-1].label == "step 2"
    assert [step.label for step in made[1:]] == ["step 1", "step 2"]
    assert len(made.snapshots) == len(made) + 1
    assert made.snapshots[0] is made.baseline
    assert all(step.before is made.snapshots[place] for place, step in enumerate(made))
    assert made.current is made.snapshots[-1]
    assert [totals.modules for totals in made.totals] == [2, 3, 4, 5]


def test_a_step_that_does_not_follow_is_refused() -> None:
    made = timeline(2)
    with pytest.raises(ValueError, match="'stray'"):
        made.append(Step("stray", "step", before=made.baseline, after=made.current))
    assert len(made) == 2


def test_any_two_states_can_be_compared() -> None:
    made = timeline(3)
    assert [change.path for change in made.diff()] == ["m1", "m2", "m3"]
    assert [(change.kind, change.path) for change in made.diff(3, 1)] == [("removed", "m2"), ("removed", "m3")]
    assert made.diff(1, 2) is made[1].diff, "compared once"
    assert made.diff(0, 3) is made.diff()
    assert not made.diff(2, 2)


@pytest.mark.parametrize("place", [4, -5])
def test_a_state_that_is_not_there_is_a_clear_error(place: int) -> None:
    with pytest.raises(LookupFailure) as caught:
        timeline(3).diff(0, place)
    assert str(place) in caught.value.what
    assert "0 (the baseline) to 3" in caught.value.hint


def test_a_diff_is_computed_when_looked_at_and_once() -> None:
    step = timeline(1)[0]
    assert "diff" not in vars(step)
    assert step.diff is step.diff


def test_findings_are_judged_against_the_baseline() -> None:
    model = Model(Node(0))
    step = Step("x", "step", before=model.snapshot(), after=model.copy().snapshot(), baseline=model.snapshot())
    assert step.audit.baseline is step.baseline
    assert step.findings == tuple(step.audit)


@given(made=timelines())
def test_a_file_gives_the_timeline_back(made: Timeline, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "law.peftviz"
    loaded = Timeline.load(made.save(path))
    assert loaded == made
    assert [step.after is step.before for step in loaded] == [step.after is step.before for step in made]
    assert all(step.duration == 0 for step in loaded)
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first


def test_durations_are_written_on_request(tmp_path: Path) -> None:
    made = timeline(2)
    assert [step.duration for step in Timeline.load(made.save(tmp_path / "a", time=True))] == [0.5, 1.5]


def test_the_diff_after_loading_is_the_same(tmp_path: Path) -> None:
    made = timeline(2)
    loaded = Timeline.load(made.save(tmp_path / "a"))
    assert list(loaded.diff()) == list(made.diff())


def step_json(**changes: object) -> dict[str, object]:
    return {
        "after": 1,
        "arguments": {},
        "drift": [],
        "duration": None,
        "error": None,
        "label": "x",
        "operation": "step",
        "warnings": [],
    } | changes


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"timeline_schema": 1},
        {"timeline_schema": True, "steps": [step_json()]},
        {"timeline_schema": 1, "steps": []},
        {"timeline_schema": 1, "steps": [step_json()], "more": 1},
        {"timeline_schema": 1, "steps": [step_json(after=2)]},
        {"timeline_schema": 1, "steps": [step_json(after=-1)]},
        {"timeline_schema": 1, "steps": [step_json(after=0)]},
        {"timeline_schema": 1, "steps": [step_json(), step_json(after=0)]},
        {"timeline_schema": 1, "steps": [step_json(label=1)]},
        {"timeline_schema": 1, "steps": [step_json(arguments={"a": 1})]},
        {"timeline_schema": 1, "steps": [step_json(warnings="x")]},
        {"timeline_schema": 1, "steps": [step_json(duration="1")]},
        {"timeline_schema": 1, "steps": [step_json(extra=1)]},
        {"timeline_schema": 2, "steps": [step_json(drift=[["path", 1, 2.0, 3]])]},
        {"timeline_schema": 2, "steps": [step_json(drift=["path"])]},
        {"timeline_schema": 1, "steps": ["x"]},
    ],
    ids=lambda meta: json.dumps(meta)[:80],
)
def test_a_file_that_breaks_the_format_is_refused(meta: dict[str, object], tmp_path: Path) -> None:
    path = save_many([model.snapshot() for model in states(2)], tmp_path / "bad", meta)
    with pytest.raises(SnapshotFileError) as caught:
        Timeline.load(path)
    assert caught.value.hint


def test_the_first_schema_which_knew_no_drift_is_read(tmp_path: Path) -> None:
    step = step_json()
    del step["drift"]
    path = save_many(
        [model.snapshot() for model in states(2)], tmp_path / "first", {"timeline_schema": 1, "steps": [step]}
    )
    assert Timeline.load(path)[0].drift == ()


def test_a_newer_schema_is_named(tmp_path: Path) -> None:
    path = save_many([states(1)[0].snapshot()], tmp_path / "new", {"timeline_schema": 3, "steps": []})
    with pytest.raises(SnapshotFileError, match="schema 3"):
        Timeline.load(path)


def test_a_snapshot_file_is_no_timeline(tmp_path: Path) -> None:
    with pytest.raises(SnapshotFileError, match="no timeline"):
        Timeline.load(save(states(1)[0].snapshot(), tmp_path / "one"))
