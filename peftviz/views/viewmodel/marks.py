"""Puts findings on the rows they speak of."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from peftviz.core.finding import LEFT_OVER
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, Role
from peftviz.views.viewmodel.sides import Side
from peftviz.views.viewmodel.table import Status
from peftviz.views.viewmodel.unify import Tree

if TYPE_CHECKING:
    from peftviz.core.audit import Audit

_FEW = 50
"""Up to this many findings are looked up one by one; for more, all paths are made once."""
_LISTED = 1_000
"""Rows of one finding that its entry lists."""


@dataclass(frozen=True)
class Marked:
    """The findings of an audit, and where they are.

    Attributes:
        entries: The findings as JSON-able dicts.
        rows: For each of them all rows of the table that it speaks of.
        handles: The model and the wrappers around all of it. Findings about the model as a whole stand there; these
            rows are no leftovers themselves.
    """

    entries: list[dict[str, Any]]
    rows: list[list[int]]
    handles: frozenset[int] = frozenset({0})

    def paint(self, disposable: npt.NDArray[np.bool_]) -> list[tuple[str, list[int], Status]]:
        """Adapter (or `""`), rows and status of each finding that paints red; notes in each entry whether it is red.

        An error does; a warning only where the row itself should go. A living layer that still mentions a dead name
        is not red: its finding is in the list. Left over is what `PV1xx` names; other rules point at what stays.

        Args:
            disposable: Rows that belong to adapters, and wrappers with nothing of an adapter inside.
        """
        painted = []
        for entry, rows in zip(self.entries, self.rows, strict=True):
            red = [row for row in rows if row not in self.handles]
            if entry["severity"] == "warning":
                red = [row for row in red if disposable[row]]
            entry["red"] = entry["severity"] == "error" or (entry["severity"] == "warning" and bool(red))
            if entry["severity"] != "info":
                status = Status.LEFTOVER if entry["rule"].startswith(LEFT_OVER) else Status.FAULT
                painted.append((entry["adapter"] or "", red, status))
        return painted


def mark_findings(audit: Audit | None, before: Side, after: Side, tree: Tree) -> Marked:
    """Looks up the rows of each finding.

    A path is looked up in the state after, then in the state before; a finding whose path is in neither has row -1.
    """
    findings = list(audit or ())
    if not findings:
        return Marked([], [])
    entries = [{field.name: getattr(finding, field.name) for field in fields(finding)} for finding in findings]
    wanted = [str(entry["path"] or "") for entry in entries]
    found = _rows_of(after.snapshot, wanted, tree.after_row, tree.module)
    if after is not before and min(found) < 0:
        old = _rows_of(before.snapshot, wanted, tree.before_row, tree.module)
        found = [new if new >= 0 else gone for new, gone in zip(found, old, strict=True)]
    all_rows = []
    for entry, row in zip(entries, found, strict=True):
        rows = sorted({row, *tree.after_modules[list(entry["rows"])].tolist()} - {-1})
        all_rows.append(rows)
        entry.update(row=row, rows=rows[:_LISTED], rows_total=len(rows), evidence=dict(entry["evidence"] or {}))
    return Marked(entries, all_rows, frozenset(tree.after_modules[_handles(after.snapshot)].tolist()))


def _handles(snapshot: Snapshot) -> list[int]:
    """Rows from the model down to the base model that its wrappers hold."""
    rows = [0]
    while snapshot.modules.role[rows[-1]] == Role.WRAPPER:
        inner = snapshot.child_rows(rows[-1])
        held = inner[np.isin(snapshot.modules.role[inner], (Role.WRAPPER, Role.BASE))]
        if not len(held):
            break
        rows.append(int(held[np.argmax(snapshot.subtree_end[held] - held)]))
    return rows


def _rows_of(snapshot: Snapshot, wanted: list[str], rows: IntArray, module: IntArray) -> list[int]:
    row_of_module = _inverse(len(snapshot.modules), rows, np.flatnonzero(module & (rows >= 0)))
    row_of_tensor = _inverse(len(snapshot.tensors), rows, np.flatnonzero(~module & (rows >= 0)))
    if len(wanted) > _FEW:
        by_path = dict(zip(snapshot.tensor_paths(), row_of_tensor.tolist(), strict=True))
        by_path.update(zip(snapshot.module_paths(), row_of_module.tolist(), strict=True))
        return [by_path.get(path, -1) for path in wanted]
    found = []
    for path in wanted:
        at_module = snapshot.find_module(path)
        at_tensor = snapshot.find_tensor(path) if at_module is None else None
        if at_module is not None:
            found.append(int(row_of_module[at_module]))
        else:
            found.append(-1 if at_tensor is None else int(row_of_tensor[at_tensor]))
    return found


def _inverse(count: int, rows: IntArray, here: IntArray) -> IntArray:
    inverse = np.full(count, -1, np.int64)
    inverse[rows[here]] = here
    return inverse
