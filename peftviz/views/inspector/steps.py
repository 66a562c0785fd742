"""The states of a timeline as the inspector and the exported page show them: a list of steps, and a table for each."""

from __future__ import annotations

from typing import Any

from peftviz.core.audit import audit_snapshot
from peftviz.core.finding import LEFT_OVER
from peftviz.core.timeline import Step, Timeline
from peftviz.views.viewmodel.table import ViewTable, view_table


def step_entries(timeline: Timeline, *, look: bool = True) -> list[dict[str, Any]]:
    """What the list of operations says: the baseline, then each step. See `step_entry`."""
    size = timeline.baseline.totals.bytes
    baseline = {"label": "watch(model)", "operation": "watch", "bytes": [size, size], "counts": {}, "leftovers": 0}
    first = {**baseline, "faults": 0, "duration": 0.0, "error": None, "warnings": [], "judged": False}
    return [first, *(step_entry(step, look=look) for step in timeline)]


def step_entry(step: Step, *, look: bool = True) -> dict[str, Any]:
    """The entry of one step.

    Args:
        step: The step.
        look: Whether to compare and judge its states. Without, `counts` is None for a step that nobody has looked at
            yet, and nothing is computed.

    Returns:
        JSON values: `label`, `operation`, `bytes` (before and after), `duration` in seconds, `error`, `warnings`,
        `judged` (whether findings are judged against a baseline); `counts` by kind of change, `leftovers` and `faults`
        (findings that are not mere information).
    """
    entry = {
        "label": step.label,
        "operation": step.operation,
        "bytes": [step.before.totals.bytes, step.after.totals.bytes],
        "duration": step.duration,
        "error": step.error,
        "warnings": list(step.warnings),
        "judged": step.baseline is not None,
    }
    if not look and not {"diff", "audit"} <= vars(step).keys():  # cached when first looked at
        return {**entry, "counts": None, "leftovers": 0, "faults": 0}
    severe = [finding for finding in step.findings if finding.severity != "info"]
    left = sum(finding.rule.startswith(LEFT_OVER) for finding in severe)
    return {**entry, "counts": dict(step.diff.counts), "leftovers": left, "faults": len(severe) - left}


def state_table(timeline: Timeline, index: int, base: int) -> ViewTable:
    """The table of a state, compared with another one.

    Args:
        timeline: The timeline.
        index: Number of the state; 0 is the baseline.
        base: Number of the state to compare with; that of the state itself shows it alone.

    Raises:
        LookupFailure: There is no such state.
    """
    if index == base or (index == 0 and base == 0):
        timeline.diff(0, index)  # complains about a state that does not exist
        return view_table(timeline.snapshots[index], audit=_audit(timeline, index))
    return view_table(timeline.diff(base, index), audit=_audit(timeline, index))


def _audit(timeline: Timeline, index: int) -> Any:
    return timeline[index - 1].audit if index else audit_snapshot(timeline.baseline)
