"""Compares matched rows: what changed in a row, and how it came to its place."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from peftviz.core.matching import Matching
from peftviz.core.recode import Columns, alias_targets, shares_storage, tensor_aliases
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


class _Pairs:
    """The matched rows of two tables, in their later order.

    Args:
        source: For each later row the earlier row, or -1.
        count: Number of earlier rows.

    Attributes:
        old: Earlier row of each pair.
        new: Later row of each pair, ascending.
        in_order: Whether the earlier rows ascend too.
    """

    def __init__(self, source: IntArray, count: int) -> None:
        self.new = np.flatnonzero(source >= 0)
        self.old = source[self.new]
        self.in_order = bool((self.old[1:] > self.old[:-1]).all())
        self._source, self._count = source, count
        # A table of which every row is matched is read as it is, without a copy.
        self._before = slice(None) if self.in_order and len(self.old) == count else self.old
        self._after = slice(None) if len(self.new) == len(source) else self.new

    def before(self, column: IntArray) -> IntArray:
        """A column of the earlier table, pair by pair."""
        return column[self._before]

    def after(self, column: IntArray) -> IntArray:
        """A column of the later table, pair by pair."""
        return column[self._after]

    def differing(self, ours: IntArray, theirs: IntArray) -> BoolArray:
        """For each later row, whether it is matched and the columns differ."""
        differ = self.before(ours) != self.after(theirs)
        rows = np.zeros(len(self._source), bool)
        if differ.any():
            rows[self._after] = differ
        return rows

    def inverse(self) -> IntArray:
        """For each earlier row the later row, or -1."""
        inverse = np.full(self._count, -1, np.int64)
        inverse[self.old] = self.new
        return inverse


def module_changes(a: Snapshot, b: Snapshot, ours: Columns, theirs: Columns, matching: Matching) -> ModuleChanges:
    """Compares matched modules."""
    source = matching.modules
    pairs = _Pairs(source, len(a.modules))
    old_parent, new_parent = pairs.before(a.modules.parent), pairs.after(b.modules.parent)
    same_parent = np.append(source, -1)[new_parent] == old_parent  # a root's parent of -1 reads the last entry
    same_parent &= (new_parent >= 0) == (old_parent >= 0)
    elsewhere = ~same_parent | (pairs.before(ours.names) != pairs.after(theirs.names))

    wrapped, unwrapped, moved = (np.zeros(len(b.modules), bool) for _ in range(3))
    if elsewhere.any():
        old, new = pairs.old[elsewhere], pairs.new[elsewhere]
        is_wrapped = _took_place(b, source, theirs.names, new, a, ours.names, old)
        wrapped[new[is_wrapped]] = True
        old, new = old[~is_wrapped], new[~is_wrapped]
        is_unwrapped = _took_place(a, pairs.inverse(), ours.names, old, b, theirs.names, new)
        unwrapped[new[is_unwrapped]] = True
        moved[new[~is_unwrapped]] = True
    moved[_out_of_order(pairs, new_parent, ~elsewhere)] = True

    carried = below(b, wrapped | unwrapped)
    fields = {field: pairs.differing(ours.modules[field], theirs.modules[field]) for field in ours.modules}
    fields["role"] &= ~carried  # being wrapped makes a base module a wrapped one: that is no second change

    retied = np.zeros(len(b.modules), bool)
    if len(a.modules.alias_rows) or len(b.modules.alias_rows):
        retied = _regrouped(alias_targets(a), alias_targets(b), source, pairs.inverse())
    return ModuleChanges(wrapped, unwrapped, moved, retied, carried, fields)


def tensor_changes(
    a: Snapshot, b: Snapshot, ours: Columns, theirs: Columns, matching: Matching, modules: ModuleChanges
) -> TensorChanges:
    """Compares matched tensors."""
    source = matching.tensors
    pairs = _Pairs(source, len(a.tensors))
    new_owner = pairs.after(b.tensors.owner)
    elsewhere = matching.modules[new_owner] != pairs.before(a.tensors.owner)
    elsewhere |= pairs.before(ours.tensor_names) != pairs.after(theirs.tensor_names)
    moved = np.zeros(len(b.tensors), bool)
    moved[pairs.new[elsewhere]] = True
    moved[_out_of_order(pairs, new_owner, ~elsewhere)] = True

    fields = {field: pairs.differing(ours.tensors[field], theirs.tensors[field]) for field in ours.tensors}
    if len(b.tensors):
        fields["role"] &= ~modules.carried[b.tensors.owner]
    if a.values != b.values:  # fingerprints of different kinds say nothing
        fields["values"] = np.zeros(len(b.tensors), bool)
    fields["version"] &= ~fields["values"]  # a new value says it already

    retied = np.zeros(len(b.tensors), bool)
    if shares_storage(a) or shares_storage(b):
        inverse = pairs.inverse()
        retied = _regrouped(a.tensors.storage, b.tensors.storage, source, inverse)
        retied |= _regrouped(tensor_aliases(a), tensor_aliases(b), source, inverse)
    return TensorChanges(moved, retied, fields)


def state_changes(a: Snapshot, b: Snapshot) -> list[tuple[str, Any, Any]]:
    """Field, value before and value after of all that changed in the adapters as a whole."""
    changes: list[tuple[str, Any, Any]] = []
    old, new = vars(a.adapter_state), vars(b.adapter_state)
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
        is_wrapper = outer.modules.role[np.maximum(climber, 0)] == Role.WRAPPER.value
        climbing &= is_wrapper
        arrived = climbing & (
            (above < 0) & (old_parent < 0) | (above >= 0) & (place >= 0) & (place == old_parent) & same_name
        )
        found |= arrived
        climbing &= ~arrived & (above >= 0) & (place < 0)
        climber = np.where(climbing, above, climber)
    return found


def _out_of_order(pairs: _Pairs, group: IntArray, concerned: BoolArray) -> IntArray:
    """Later rows that come after one of their group that stood behind them before.

    Args:
        pairs: The matched rows.
        group: Parent or owner of the later row of each pair.
        concerned: Whether a pair is asked about; the others are passed over.
    """
    if pairs.in_order:
        return np.zeros(0, np.int64)
    new, old, group = pairs.new[concerned], pairs.old[concerned], group[concerned]
    order = np.argsort(group, kind="stable")
    step = (group[order][1:] == group[order][:-1]) & (old[order][1:] < old[order][:-1])
    late = np.zeros(len(group), bool)
    for member in np.unique(group[order][1:][step]).tolist():
        rows = np.flatnonzero(group == member)
        late[rows] = old[rows] < np.maximum.accumulate(old[rows])
    return new[late]


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
