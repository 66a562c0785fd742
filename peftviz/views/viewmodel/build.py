"""Builds the view table: columns in, columns out, no object a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from peftviz.core.audit import Audit
from peftviz.core.diff import Diff, diff
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, Role, TensorFlag
from peftviz.views.formatting import short_class_names
from peftviz.views.viewmodel.interning import StringPool
from peftviz.views.viewmodel.marks import mark_findings
from peftviz.views.viewmodel.parts import memory_parts
from peftviz.views.viewmodel.row_details import row_changes, row_details
from peftviz.views.viewmodel.sides import Side, read_side
from peftviz.views.viewmodel.summary import summarise
from peftviz.views.viewmodel.table import RowKind, Status, ViewTable
from peftviz.views.viewmodel.unify import Match, Tree, unify

_PRECEDENCE = (
    (32, Status.CHANGED),
    (64, Status.RETIED),
    (8, Status.MOVED),
    (4, Status.UNWRAPPED),
    (2, Status.WRAPPED),
    (16, Status.REPLACED),
    (1, Status.ADDED),
)
"""Bits of a diff's kinds and the status they give; a later one hides an earlier one."""

_ONCE = ("label", "note", "role", "adapter")
_TWICE = ("type", "shape", "dtype", "device", "trainable", "bytes", "numel")
_SUMMED = {"bytes": "nbytes", "numel": "numel"}
"""Columns that add up what is below a row, and what they add up."""


def build_table(subject: Snapshot | Diff | Audit, audit: Audit | None = None) -> ViewTable:
    """Makes the view table of a snapshot, a diff or an audit; see `peftviz.views.viewmodel.table.view_table`."""
    subject, audit = _unfolded(subject, audit)
    pool = StringPool()
    if isinstance(subject, Snapshot):
        classes = _classes(subject)
        before = after = read_side(subject, pool, classes)
        rows = [np.arange(len(subject.modules)), np.arange(len(subject.tensors))]
        nothing = np.zeros(0, np.int64)
        match, diff = Match(rows[0], rows[1], nothing, nothing), None
    else:
        diff = subject
        classes = _classes(diff.before, diff.after)
        before, after = read_side(diff.before, pool, classes), read_side(diff.after, pool, classes)
        match = Match(diff.module_source, diff.tensor_source, diff.removed_modules, diff.removed_tensors)
    tree = unify(before.snapshot, after.snapshot, match)
    marked = mark_findings(audit, before, after, tree)
    status = _statuses(tree, diff, tree.end)
    columns = _columns(tree, before, after, tree.end)
    red = marked.paint(_disposable(tree, columns["role"], tree.end))
    for word in (Status.FAULT, Status.LEFTOVER):  # what is left over says so, whatever else is the matter with it
        for _, marked_rows, meaning in red:
            if meaning is word:
                status[marked_rows] = word
    gone = [(adapter, rows) for adapter, rows, meaning in red if meaning is Status.LEFTOVER]
    leftover = _leftover_tensors(tree, columns, pool, gone, tree.end)
    parts = memory_parts(tree, before, after, leftover, pool)
    changes, changes_cut = row_changes(tree, diff) if diff is not None else ([], 0)
    details = row_details(tree, before, after, status, marked)
    return ViewTable(
        parent=tree.parent,
        depth=tree.depth,
        was=_old_paths(tree, before, diff, pool),
        status=status,
        end=tree.end,
        before_row=tree.before_row,
        after_row=tree.after_row,
        changes=changes,
        findings=marked.entries,
        summary={
            **summarise(before.snapshot, after.snapshot, status, columns["bytes_after"], leftover, marked.entries),
            "changes_cut": changes_cut,
        },
        roles=parts,
        details=details,
        strings=pool.strings(),
        **columns,
    )


def _unfolded(subject: Snapshot | Diff | Audit, audit: Audit | None) -> tuple[Snapshot | Diff, Audit | None]:
    """An audit stands for its snapshot, or for the diff from its baseline, with the findings marked."""
    if isinstance(subject, (Snapshot, Diff)):
        return subject, audit
    if subject.baseline is None:
        return subject.snapshot, subject
    return diff(subject.baseline, subject.snapshot), subject


def _classes(*snapshots: Snapshot) -> dict[str, str]:
    types = [name for snapshot in snapshots for name in snapshot.types]
    types += [spec.type for snapshot in snapshots for spec in snapshot.specs]
    return short_class_names(types)


def _columns(tree: Tree, before: Side, after: Side, end: IntArray) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    places = {"after": _places(tree, after, tree.after_row)}
    places["before"] = places["after"] if before is after else _places(tree, before, tree.before_row)
    for name in _TWICE:
        for when, side in (("after", after), ("before", before)):
            if when == "before" and before is after:
                columns[f"{name}_before"] = columns[f"{name}_after"]
                continue
            values = _joined(side, _SUMMED.get(name, name))[places[when]]
            columns[f"{name}_{when}"] = _sums_below(values, end) if name in _SUMMED else values
    gone = np.flatnonzero(tree.after_row < 0)
    for name in _ONCE:
        columns[name] = _joined(after, name)[places["after"]]
        columns[name][gone] = _joined(before, name)[places["before"][gone]]
    columns["kind"] = _kinds(tree, before.snapshot, after.snapshot)
    return columns


def _places(tree: Tree, side: Side, rows: IntArray) -> IntArray:
    """Where the rows of the tree find their values in what `_joined` gives: at its end when the side lacks them."""
    return np.where(rows < 0, -1, np.where(tree.module, rows, rows + len(side.snapshot.modules)))


def _joined(side: Side, name: str) -> npt.NDArray[Any]:
    """A column of a side over its modules, then its tensors, then one 0."""
    modules, tensors = getattr(side.modules, name), getattr(side.tensors, name)
    return np.concatenate([modules, tensors, np.zeros(1, (modules if len(modules) else tensors).dtype)])


def _sums_below(values: npt.NDArray[np.float64], end: IntArray) -> npt.NDArray[np.float64]:
    # Integers up to 2^53 add up exactly in float64, so a difference of running sums is exact, too.
    running = np.zeros(len(values) + 1)
    np.cumsum(values, out=running[1:])
    return np.asarray(running[end] - running[:-1])


def _kinds(tree: Tree, before: Snapshot, after: Snapshot) -> IntArray:
    kind = np.zeros(len(tree.parent), np.uint8)
    for snapshot, rows in ((before, tree.before_row), (after, tree.after_row)):
        here = np.flatnonzero(~tree.module & (rows >= 0))
        buffer = (snapshot.tensors.flags[rows[here]] & TensorFlag.BUFFER) != 0
        kind[here] = np.where(buffer, RowKind.BUFFER, RowKind.PARAMETER)
    return kind


def _statuses(tree: Tree, diff: Diff | None, end: IntArray) -> IntArray:
    status = np.zeros(len(tree.parent), np.uint8)
    if diff is not None:
        for rows, kinds in ((tree.after_modules, diff.module_kinds), (tree.after_tensors, diff.tensor_kinds)):
            word = np.zeros(len(rows), np.uint8)
            for bit, value in _PRECEDENCE:
                word[(kinds & bit) != 0] = value
            status[rows] = word
        status[tree.removed_modules] = Status.REMOVED
        status[tree.removed_tensors] = Status.REMOVED
        running = np.concatenate([[0], np.cumsum(status != Status.SAME)])
        inside = (status == Status.SAME) & (running[end] > running[:-1])
        status[inside] = Status.INSIDE
    return status


def _disposable(tree: Tree, role: IntArray, end: IntArray) -> npt.NDArray[np.bool_]:
    """Rows that a model could do without: what belongs to adapters, and wrappers around nothing of an adapter."""
    owned = np.isin(role, (Role.ADAPTER, Role.SAVED)) & (tree.after_row >= 0)
    running = np.concatenate([[0], np.cumsum(owned)])
    hollow = (role == Role.WRAPPER) & (running[end] == running[:-1])
    return np.asarray((role >= Role.ADAPTER) | hollow)


def _leftover_tensors(
    tree: Tree,
    columns: dict[str, Any],
    pool: StringPool,
    red: list[tuple[str, list[int]]],
    end: IntArray,
) -> npt.NDArray[np.bool_]:
    """Tensor rows that a finding says should be gone.

    A finding on an adapter's own module covers all below it; one on a wrapper covers what belongs to the adapter it
    names, not the base weights inside.
    """
    count = len(tree.parent)
    owned = columns["role"] >= Role.ADAPTER
    leftover = np.zeros(count, bool)
    spans: dict[int, list[int]] = {}
    for adapter, rows in red:
        spans.setdefault(pool.code(adapter), []).extend(rows)
    for code, starts in spans.items():
        start = np.array(starts, np.int64)
        if not code:
            start = start[owned[start]]
        edges = np.zeros(count + 1, np.int64)
        np.add.at(edges, start, 1)
        np.add.at(edges, end[start], -1)
        covered = np.cumsum(edges[:-1]) > 0
        theirs = columns["adapter"] == code if code else owned
        leftover |= covered & owned & theirs
    return np.asarray(leftover & ~tree.module & (tree.after_row >= 0), np.bool_)


def _old_paths(tree: Tree, before: Side, diff: Diff | None, pool: StringPool) -> IntArray:
    was = np.zeros(len(tree.parent), np.uint32)
    if diff is None:
        return was
    moved = 2 | 4 | 8
    for rows, kinds, source, path in (
        (tree.after_modules, diff.module_kinds, diff.module_source, before.paths.path),
        (tree.after_tensors, diff.tensor_kinds, diff.tensor_source, before.tensor_path),
    ):
        hits = np.flatnonzero((kinds & moved != 0) & (source >= 0))
        was[rows[hits]] = [pool.code(path(row) or "the model") for row in source[hits].tolist()]
    return was
