"""Checks of what readers pass where a snapshot is expected: a model is the common mistake."""

from __future__ import annotations

from peftviz.core.snapshot import Snapshot
from peftviz.errors import SnapshotError


def check_snapshot(value: object, argument: str) -> None:
    """Raises unless a value is a snapshot.

    Args:
        value: What was passed.
        argument: The name of the parameter that it was passed for.

    Raises:
        SnapshotError: It is something else; the hint says how to come by a snapshot of it.
    """
    if isinstance(value, Snapshot):
        return
    if isinstance(getattr(value, "baseline", None), Snapshot):
        hint = "Pass one of its states: its .baseline, or a step's .before or .after."
    elif callable(getattr(value, "named_modules", None)):
        hint = "A model changes in place: take peftviz.capture(model) before an operation and again after it."
    else:
        hint = "peftviz.capture(model) takes a snapshot, peftviz.load(path) reads a saved one."
    raise SnapshotError(
        f"A snapshot is needed here, not {type(value).__name__!r}.", where=f"argument {argument!r}", hint=hint
    )


def check_baseline(baseline: object) -> None:
    """Raises `SnapshotError` unless a baseline is a snapshot or None."""
    if baseline is not None:
        check_snapshot(baseline, "baseline")
