"""What a program with strict types does with peftviz."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import assert_type

import peftviz

if TYPE_CHECKING:
    import torch


def sizes(model: torch.nn.Module) -> dict[str, int]:
    snapshot = peftviz.capture(model, label="now", values="off")
    assert_type(snapshot, peftviz.Snapshot)
    assert_type(snapshot.totals.bytes, int)
    return {row.path: row.nbytes for row in map(snapshot.tensor, snapshot.tensor_paths())}


def changed(before: Path, after: Path) -> list[str]:
    changes = peftviz.diff(peftviz.load(before), peftviz.load(after))
    assert_type(changes, peftviz.Diff)
    assert_type(changes.renames, dict[str, str])
    return [f"{change.kind} {change.path}" for change in changes]


def faults(model: torch.nn.Module) -> list[peftviz.Finding]:
    audit = peftviz.audit(model)
    assert_type(audit, peftviz.Audit)
    return [finding for finding in audit if finding.severity == "error"]


def delete(model: torch.nn.Module, name: str) -> int:
    try:
        report = peftviz.delete_adapter(model, name)
    except peftviz.PeftvizError as error:
        raise SystemExit(str(error)) from error
    assert_type(report, peftviz.DeletionReport)
    assert_type(report.plan, peftviz.DeletionPlan)
    return report.freed.bytes


def steps(model: torch.nn.Module) -> list[str]:
    with peftviz.watch(model, display=False) as session:
        session.repair()
        return [step.label for step in session.timeline]
