"""Compares matched rows: what changed in a row, and how it came to its place."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from peftviz.core.matching import Matching
from peftviz.core.recode import Columns, alias_targets, tensor_aliases
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import BoolArray, IntArray, Role


@dataclass(frozen=True, eq=False)
class ModuleChanges:
    """Booleans, one a later module row.

    Attributes:
        wrapped, unwrapped, moved, retied: As in `Kind`.
        carried: Whether the row, or a row above it, was wrapped or unwrapped.
        fields: By field of `Columns.modules`, whether it changed.
    """

    wrapped: BoolArray
    unwrapped: BoolArray
    moved: BoolArray
    retied: BoolArray
    carried: BoolArray
    fields: dict[str, BoolArray]


@dataclass(frozen=True, eq=False)
class TensorChanges:
    """Booleans, one a later tensor row; attributes as for `ModuleChanges`."""

    moved: BoolArray
    retied: BoolArray
    fields: dict[str, BoolArray]


def module_changes(a: Snapshot, b: Snapshot, ours: Columns, theirs: Columns, matching: Matching) -> ModuleChanges:
    """Compares matched modules."""
    source = matching.modules
    rows = np.flatnonzero(source >= 0)
    old = source[rows]
    old_parent, new_parent = a.modules.parent[old], b.modules.parent[rows]
    same_parent = np.where(new_parent >= 0, source[np.maximum(new_parent, 0)], -1) == old_parent
    same_parent &= (new_parent >= 0) == (old_parent >= 0)
    elsewhere = ~(same_parent & (ours.names[old] == theirs.names[rows]))

    inverse = np.full(len(a.modules), -1, np.int64)
    inverse[old] = rows
    wrapped, unwrapped, moved = (np.zeros(len(b.modules), bool) for _ in range(3))
    away_old, away_new = old[elsewhere], rows[elsewhere]
    is_wrapped = _took_place(b, source, theirs.names, away_new, a, ours.names, away_old)
    is_unwrapped = _took_place(a, inverse, ours.names, away_old, b, theirs.names, away_new) & ~is_wrapped
    wrapped[away_new[is_wrapped]] = True
    unwrapped[away_new[is_unwrapped]] = True
    moved[away_new[~is_wrapped & ~is_unwrapped]] = True
    moved[rows[~elsewhere][_out_of_order(new_parent[~elsewhere], old[~elsewhere])]] = True

    carried = below(b, wrapped | unwrapped)
    fields = {}
    for field in ours.modules:
        changed = np.zeros(len(b.modules), bool)
        changed[rows] = ours.modules[field][old] != theirs.modules[field][rows]
        if field == "role":  # being wrapped makes a base module a wrapped one: that is no second change
            changed &= ~carried
        fields[field] = changed

    retied = np.zeros(len(b.modules), bool)
    if len(a.modules.alias_rows) or len(b.modules.alias_rows):
        retied = _regrouped(alias_targets(a), alias_targets(b), source, inverse)
    return ModuleChanges(wrapped, unwrapped, moved, retied, carried, fields)


def tensor_changes(
    a: Snapshot, b: Snapshot, ours: Columns, theirs: Columns, matching: Matching, modules: ModuleChanges
) -> TensorChanges:
    """Compares matched tensors."""
    source = matching.tensors
    rows = np.flatnonzero(source >= 0)
    old = source[rows]
    new_owner = b.tensors.owner[rows]
    elsewhere = (matching.modules[new_owner] != a.tensors.owner[old]) | (
        ours.tensor_names[old] != theirs.tensor_names[rows]
    )
    moved = np.zeros(len(b.tensors), bool)
    moved[rows[elsewhere]] = True
    moved[rows[~elsewhere][_out_of_order(new_owner[~elsewhere], old[~elsewhere])]] = True

    fields = {}
    for field in ours.tensors:
        changed = np.zeros(len(b.tensors), bool)
        changed[rows] = ours.tensors[field][old] != theirs.tensors[field][rows]
        if field == "role" and len(b.tensors):
            changed &= ~modules.carried[b.tensors.owner]
        fields[field] = changed
    if a.values != b.values:  # fingerprints of different kinds say nothing
        fields["values"] = np.zeros(len(b.tensors), bool)
    fields["version"] = fields["version"] & ~fields["values"]  # a new value says it already

    inverse = np.full(len(a.tensors), -1, np.int64)
    inverse[old] = rows
    retied = _regrouped(a.tensors.storage, b.tensors.storage, source, inverse)
    retied |= _regrouped(tensor_aliases(a), tensor_aliases(b), source, inverse)
    return TensorChanges(moved, retied, fields)


def state_changes(a: Snapshot, b: Snapshot) -> list[tuple[str, Any, Any]]:
    """Field, value before and value after of all that changed in the adapters as a whole."""
    changes: list[tuple[str, Any, Any]] = []
    old, new = asdict(a.adapter_state), asdict(b.adapter_state)
    changes += [(field, old[field], new[field]) for field in old if old[field] != new[field]]
    before = {adapter.name: adapter for adapter in a.adapters}
    after = {adapter.name: adapter for adapter in b.adapters}
    for name in dict.fromkeys([*before, *after]):
        ours, theirs = before.get(name), after.get(name)
        if ours is None or theirs is None:
            changes.append((f"adapters.{name}", ours and ours.method, theirs and theirs.method))
            continue
        for field in ("method", "active", "merged", "inference"):
            if getattr(ours, field) != getattr(theirs, field):
                changes.append((f"adapters.{name}.{field}", getattr(ours, field), getattr(theirs, field)))
        for key in dict.fromkeys([*ours.config, *theirs.config]):
            if ours.config.get(key) != theirs.config.get(key):
                changes.append((f"adapters.{name}.config.{key}", ours.config.get(key), theirs.config.get(key)))
    shared = [name for name in before if name in after]
    if shared != [name for name in after if name in before]:
        changes.append(("adapters", tuple(before), tuple(after)))
    return changes


def _took_place(
    outer: Snapshot,
    source: IntArray,
    outer_names: IntArray,
    rows: IntArray,
    inner: Snapshot,
    inner_names: IntArray,
    inner_rows: IntArray,
) -> BoolArray:
    """Whether new wrappers stand between a row and its old place: climbing over them leads there.

    Args:
        outer: The snapshot in which the row may be wrapped.
        source: For each row of `outer` its row in `inner`, or -1.
        outer_names: Name of each row of `outer`.
        rows: Rows of `outer` in question.
        inner: The other snapshot.
        inner_names: Name of each row of `inner`.
        inner_rows: The rows of `inner` that match `rows`.
    """
    climber = outer.modules.parent[rows].astype(np.int64)
    found = np.zeros(len(rows), bool)
    climbing = (climber >= 0) & (source[np.maximum(climber, 0)] < 0)
    while climbing.any():
        above = outer.modules.parent[np.maximum(climber, 0)].astype(np.int64)
        place = np.where(above >= 0, source[np.maximum(above, 0)], -1)
        old_parent = inner.modules.parent[inner_rows]
        same_name = outer_names[np.maximum(climber, 0)] == inner_names[inner_rows]
        is_wrapper = outer.modules.role[np.maximum(climber, 0)] == Role.WRAPPER
        climbing &= is_wrapper
        arrived = climbing & (
            (above < 0) & (old_parent < 0) | (above >= 0) & (place >= 0) & (place == old_parent) & same_name
        )
        found |= arrived
        climbing &= ~arrived & (above >= 0) & (place < 0)
        climber = np.where(climbing, above, climber)
    return found


def _out_of_order(group: IntArray, position: IntArray) -> BoolArray:
    """Whether a member of a group comes after one that stood behind it before.

    Args:
        group: Parent or owner of each row, rows in their later order.
        position: Earlier row of each.
    """
    order = np.argsort(group, kind="stable")
    late = np.zeros(len(group), bool)
    if len(group) > 1:
        step = (group[order][1:] == group[order][:-1]) & (position[order][1:] < position[order][:-1])
        if step.any():
            for member in np.unique(group[order][1:][step]).tolist():
                rows = np.flatnonzero(group == member)
                late[rows] = position[rows] < np.maximum.accumulate(position[rows])
    return late


def below(snapshot: Snapshot, marked: BoolArray) -> BoolArray:
    """For each module row, whether it is marked or below a marked one."""
    rows = np.flatnonzero(marked)
    if not len(rows):
        return marked
    edges = np.zeros(len(marked) + 1, np.int64)
    np.add.at(edges, rows, 1)
    np.add.at(edges, snapshot.subtree_end[rows], -1)
    covered: BoolArray = np.cumsum(edges[:-1]) > 0
    return covered


def _regrouped(a: IntArray, b: IntArray, source: IntArray, inverse: IntArray) -> BoolArray:
    """Whether a matched row is grouped with other rows than before.

    Args:
        a: Group of each earlier row, by the number of its first row.
        b: Group of each later row, likewise.
        source: Earlier row of each later row, or -1.
        inverse: Later row of each earlier row, or -1.
    """
    changed = np.zeros(len(b), bool)
    sharing_a = np.flatnonzero(a != np.arange(len(a)))
    sharing_b = np.flatnonzero(b != np.arange(len(b)))
    if not len(sharing_a) and not len(sharing_b):
        return changed
    before: dict[int, set[int]] = defaultdict(set)
    after: dict[int, set[int]] = defaultdict(set)
    for row in sharing_a.tolist():
        before[int(a[row])].update((row, int(a[row])))
    for row in sharing_b.tolist():
        after[int(b[row])].update((row, int(b[row])))
    concerned = {int(inverse[row]) for group in before.values() for row in group}
    concerned |= {row for group in after.values() for row in group}
    for row in concerned - {-1}:
        old = int(source[row])
        if old >= 0:
            partners = {int(inverse[other]) for other in before.get(int(a[old]), {old})}
            changed[row] = partners != after.get(int(b[row]), {row})
    return changed
