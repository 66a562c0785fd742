"""The states of a timeline as the inspector and the exported page show them: a list of steps, and a table for each."""

from __future__ import annotations

from typing import Any

from peftviz.core.audit import audit_snapshot
from peftviz.core.timeline import Step, Timeline
from peftviz.views.formatting import MINUS, format_bytes, format_delta, plural
from peftviz.views.table import ViewTable, view_table

_COUNTED = (("added", "+"), ("removed", MINUS), ("wrapped", "⤷"), ("unwrapped", "⤶"))


def step_entries(timeline: Timeline) -> list[dict[str, Any]]:
    """What the list of operations says: the baseline, then each step."""
    baseline = {"label": "watch(model)", "notes": ["baseline", format_bytes(timeline.baseline.totals.bytes)]}
    return [{**baseline, "mark": "", "error": None, "warnings": []}, *map(step_entry, timeline)]


def step_entry(step: Step) -> dict[str, Any]:
    """The entry of one step."""
    counts = step.diff.counts
    notes = [f"{symbol}{counts[word]:,}" for word, symbol in _COUNTED if counts.get(word)]
    if not notes:
        notes.append(plural(len(step.diff), "change") if len(step.diff) else "no change")
    grown = format_delta(step.before.totals.bytes, step.after.totals.bytes, unit="bytes")
    if grown:
        notes.append(grown)
    if step.duration >= 0.05:
        notes.append(f"{step.duration:.1f} s")
    severe = [finding for finding in step.findings if finding.severity != "info"]
    left = [finding for finding in severe if finding.rule.startswith("PV1")]
    mark = plural(len(left), "leftover") if left else plural(len(severe), "finding") if severe else ""
    return {"label": step.label, "notes": notes, "mark": mark, "error": step.error, "warnings": list(step.warnings)}


def state_table(timeline: Timeline, index: int, base: int) -> ViewTable:
    """The table of a state, compared with an earlier one.

    Args:
        timeline: The timeline.
        index: Number of the state; 0 is the baseline.
        base: Number of the state to compare with; ignored for the baseline.

    Raises:
        LookupFailure: There is no such state.
    """
    timeline.diff(base, index)  # complains about a state that does not exist
    if index == 0:
        return view_table(timeline.baseline, audit=audit_snapshot(timeline.baseline))
    return view_table(timeline.diff(base, index), audit=timeline[index - 1].audit)
