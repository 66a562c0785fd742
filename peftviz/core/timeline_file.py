"""Timelines as files: the states in one container, the steps beside them. See `docs/formats/timeline.md`."""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

from peftviz.core.codec import damaged
from peftviz.core.header import Fields
from peftviz.core.serialize import load_many, save_many
from peftviz.core.snapshot import Snapshot
from peftviz.core.timeline import Drift, Step, Timeline
from peftviz.errors import SnapshotFileError

SCHEMA = 2
SCHEMA_FIELD = "timeline_schema"


def save_timeline(timeline: Timeline, path: str | os.PathLike[str], *, time: bool = False) -> Path:
    """Writes a timeline to a file that `load_timeline` reads.

    Args:
        timeline: What to write.
        path: Where to; the folder must exist.
        time: Whether to write times too: when states were captured, how long steps took. They differ in each run.

    Returns:
        The path written.

    Raises:
        SnapshotFileError: A state breaks a law of its tables, or the states come from different processes.
        OSError: The file cannot be written.
    """
    states: list[Snapshot] = [timeline.baseline]
    steps = []
    for step in timeline:
        if step.after is not states[-1]:
            states.append(step.after)
        steps.append(_written(step, after=len(states) - 1, time=time))
    return save_many(states, path, {SCHEMA_FIELD: SCHEMA, "steps": steps}, time=time)


def load_timeline(path: str | os.PathLike[str]) -> Timeline:
    """Reads the timeline that `save_timeline` wrote. Needs neither torch nor peft.

    Args:
        path: The file. It may come from anyone: it is checked, and never executed.

    Returns:
        The timeline. Its states can be compared among one another by identity, as those of one process can.

    Raises:
        SnapshotFileError: The file is no timeline, damaged, hostile, or of a newer schema.
        OSError: The file cannot be read.
    """
    states, meta = load_many(path)
    if SCHEMA_FIELD not in meta or not states:
        raise SnapshotFileError(
            "The file holds no timeline.", where=str(path), hint="peftviz.load(path) reads a single snapshot."
        )
    fields = Fields(meta, f"{path}, steps")
    schema = fields.take(SCHEMA_FIELD, int)
    if schema not in (1, SCHEMA):
        raise SnapshotFileError(
            f"The file holds a timeline of schema {schema}; this version of peftviz reads up to {SCHEMA}.",
            where=str(path),
            hint="Read it with the version of peftviz that wrote it, or a newer one.",
        )
    timeline = Timeline(states[0])
    position = 0
    for number, value in enumerate(fields.items("steps"), 1):
        step, position = _read(value, f"{path}, step {number}", states, position)
        timeline.append(step)
    fields.done()
    if position != len(states) - 1:
        raise damaged("there are states that no step leads to", str(path))
    return timeline


def _written(step: Step, *, after: int, time: bool) -> dict[str, Any]:
    return {
        "after": after,
        "arguments": dict(step.arguments),
        "drift": [[drift.path, drift.difference, drift.scale, drift.compared] for drift in step.drift],
        "duration": step.duration if time else None,
        "error": step.error,
        "label": step.label,
        "operation": step.operation,
        "warnings": list(step.warnings),
    }


def _read(value: Any, where: str, states: list[Snapshot], position: int) -> tuple[Step, int]:
    fields = Fields(value, where)
    after = fields.take("after", int)
    if after not in (position, position + 1) or after >= len(states):
        raise damaged("a step does not lead to the next state", where)
    step = Step(
        label=fields.text("label"),
        operation=fields.text("operation"),
        arguments=MappingProxyType(fields.text_mapping("arguments")),
        duration=fields.optional("duration", float) or 0.0,
        warnings=tuple(fields.texts("warnings")),
        error=fields.optional("error", str),
        before=states[position],
        after=states[after],
        baseline=states[0],
        drift=tuple(_read_drift(item, where) for item in (fields.items("drift") if "drift" in fields else ())),
    )
    fields.done()
    return step, after


def _read_drift(value: Any, where: str) -> Drift:
    kinds = [str, float, float, int]
    if not isinstance(value, list) or [type(item) for item in value] != kinds:
        raise damaged("a drift is not a path, two sizes and a number", where)
    return Drift(*value)
