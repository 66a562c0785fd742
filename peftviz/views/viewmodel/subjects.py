"""What there is to show of each object that can be shown: some lines, and a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peftviz.core.audit import Audit, audit_snapshot
from peftviz.core.diff import Diff
from peftviz.core.operation_plan import OperationPlan
from peftviz.core.plan import DeletionPlan
from peftviz.core.snapshot import Snapshot
from peftviz.core.timeline import Step, Timeline
from peftviz.errors import PeftvizError
from peftviz.views.viewmodel.remembered import remembered
from peftviz.views.viewmodel.table import ViewTable, view_table


@dataclass(frozen=True)
class Document:
    """An object made ready for a renderer.

    Attributes:
        title: What it is, in a few words.
        lines: What is to be said before the table; untrusted text in it is not escaped yet.
        table: The tree, or None for an object that has none.
    """

    title: str
    lines: tuple[str, ...]
    table: ViewTable | None


def document(obj: Any) -> Document:
    """Makes the document of an object.

    Reports and sessions belong to the other side of the house; they are told by what they hold: `diff` and `audit`,
    or a `timeline`.

    Raises:
        PeftvizError: The object is none that peftviz shows.
    """
    if isinstance(obj, Snapshot):
        table = view_table(obj, audit=_audit(obj))
        return Document(f"Snapshot {obj.label!r}" if obj.label else "Snapshot", (), table)
    if isinstance(obj, Diff):
        return Document("Diff", (), view_table(obj, audit=_audit(obj.after)))
    if isinstance(obj, (DeletionPlan, OperationPlan)):
        first, *rest = obj.lines()
        return Document(first, (first, *rest), None)
    if isinstance(obj, Step):
        return _step(obj)
    if isinstance(obj, Timeline):
        return _timeline(obj)
    if isinstance(getattr(obj, "timeline", None), Timeline):
        return _timeline(obj.timeline)
    if isinstance(getattr(obj, "diff", None), Diff):
        return _report(obj)
    if isinstance(obj, Audit):
        return Document("Audit", (), view_table(obj))
    raise PeftvizError(
        f"peftviz cannot show an object of type {type(obj).__name__}.",
        hint="It shows snapshots, diffs, audits, plans, reports, steps, timelines and sessions.",
    )


def states(obj: Any) -> tuple[Snapshot, Snapshot]:
    """The states before and after that the table of an object shows; the same twice for a single one.

    Raises:
        PeftvizError: The object is none that shows states.
    """
    if isinstance(obj, Snapshot):
        return obj, obj
    if isinstance(obj, Diff):
        return obj.before, obj.after
    if isinstance(obj, Audit):
        return obj.baseline or obj.snapshot, obj.snapshot
    if isinstance(getattr(obj, "diff", None), Diff):
        return obj.diff.before, obj.diff.after
    raise PeftvizError(f"An object of type {type(obj).__name__} has no rows to select.", where="inspector.select(path)")


@remembered
def _audit(snapshot: Snapshot) -> Audit:
    return audit_snapshot(snapshot)


def _step(step: Step) -> Document:
    return Document(step.label, tuple(_step_lines(step)), view_table(step.diff, audit=step.audit))


def _step_lines(step: Step) -> Iterator[str]:
    yield step.label
    if step.error is not None:
        yield f"  ✗ raised {step.error}"
    for warning in step.warnings:
        yield f"  ! {warning}"


def _timeline(timeline: Timeline) -> Document:
    steps = len(timeline)
    title = f"{steps} recorded {'step' if steps == 1 else 'steps'}"
    lines = [title]
    for number, step in enumerate(timeline, 1):
        counts = ", ".join(f"{count:,} {kind}" for kind, count in step.diff.counts.items()) or "no changes"
        first, *rest = _step_lines(step)
        lines += [f"  {number}. {first}: {counts}", *(f"   {line}" for line in rest)]
    if not steps:
        return Document(title, tuple(lines), view_table(timeline.baseline))
    last = timeline[-1]
    return Document(title, (*lines, f"Step {steps}, {last.label}:"), view_table(last.diff, audit=last.audit))


def _report(report: Any) -> Document:
    lines = tuple(report.lines())
    return Document(lines[0], lines, view_table(report.diff, audit=report.audit))
