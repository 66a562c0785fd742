"""One tree of two: the rows of the state after, and among them, at their old place, the rows that are gone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from peftviz.core.preorder import preorder_positions, record_depth
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray


@dataclass(frozen=True, eq=False)
class Match:
    """Which rows of two snapshots are the same thing, as a diff says it.

    Attributes:
        module_source: For each module row after, the matching row before or -1.
        tensor_source: Likewise for tensors.
        removed_modules: Module rows before that match nothing, ascending.
        removed_tensors: Likewise for tensors.
    """

    module_source: IntArray
    tensor_source: IntArray
    removed_modules: IntArray
    removed_tensors: IntArray


@dataclass(frozen=True, eq=False)
class Tree:
    """The unified tree in preorder; a module's own tensors come before its child modules.

    Attributes:
        parent: Row of the parent, -1 for the root (int32).
        end: For each row, the row after its last descendant.
        depth: Number of ancestors (uint16).
        module: Whether a row is a module.
        before_row: Row in the module or tensor table before, -1 for none.
        after_row: Likewise after.
        after_modules: For each module row after, its row in this tree.
        after_tensors: For each tensor row after, its row in this tree.
        removed_modules: For each removed module, its row in this tree.
        removed_tensors: For each removed tensor, its row in this tree.
    """

    parent: IntArray
    end: IntArray
    depth: IntArray
    module: IntArray
    before_row: IntArray
    after_row: IntArray
    after_modules: IntArray
    after_tensors: IntArray
    removed_modules: IntArray
    removed_tensors: IntArray


def unify(before: Snapshot, after: Snapshot, match: Match) -> Tree:
    """Puts the rows of both snapshots into one tree.

    A removed row lies under what its parent has become, behind what its previous surviving sibling has become.
    """
    # Records: those after, then those removed. First the modules are put in order, then the tensors between them.
    record_of = _records_of_before_modules(before, match, len(after.modules))
    position, parent = _module_order(before, after, match, record_of)
    owner = position[np.concatenate([after.tensors.owner, record_of[before.tensors.owner[match.removed_tensors]]])]
    rank = _tensor_order(before, after, match, record_of, owner)
    first = np.zeros(len(position) + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=len(position)), out=first[1:])
    # Before a module stand the modules before it and their tensors; its own tensors follow it.
    row_of_place = np.arange(len(position) + 1) + first
    modules, tensors = row_of_place[position], owner + 1 + rank

    module = np.zeros(len(position) + len(owner), bool)
    module[modules] = True
    places = len(modules) - len(match.removed_modules), len(tensors) - len(match.removed_tensors)
    (after_modules, gone_modules), (after_tensors, gone_tensors) = (
        (rows[:place], rows[place:]) for rows, place in zip((modules, tensors), places, strict=True)
    )
    before_row = np.full(len(module), -1, np.int32)
    after_row = np.full(len(module), -1, np.int32)
    for rows, source in (
        (after_modules, match.module_source), (gone_modules, match.removed_modules),
        (after_tensors, match.tensor_source), (gone_tensors, match.removed_tensors),
    ):  # fmt: skip
        before_row[rows] = source
    for rows in (after_modules, after_tensors):
        after_row[rows] = np.arange(len(rows))

    depth_of_place = record_depth(parent)
    ancestor, end, depth = (
        np.empty(len(module), np.int32),
        np.empty(len(module), np.int64),
        np.empty(len(module), np.uint16),
    )
    ancestor[row_of_place[:-1]] = np.where(parent >= 0, row_of_place[parent], -1)
    end[row_of_place[:-1]] = row_of_place[subtree_ends(parent, depth_of_place)]
    depth[row_of_place[:-1]] = depth_of_place
    ancestor[tensors], end[tensors], depth[tensors] = row_of_place[owner], tensors + 1, depth_of_place[owner] + 1
    return Tree(
        ancestor, end, depth, module, before_row, after_row, after_modules, after_tensors, gone_modules, gone_tensors
    )


def _module_order(before: Snapshot, after: Snapshot, match: Match, record_of: IntArray) -> tuple[IntArray, IntArray]:
    """The place of each module record among the modules, and by place that of the parent, -1 for the root."""
    gone = match.removed_modules
    if not len(gone):
        return np.arange(len(after.modules)), after.modules.parent
    anchor = _anchors(
        before.modules.parent, after.modules.parent, match.module_source, record_of, before.modules.parent
    )
    parent = np.concatenate([after.modules.parent, _owner_records(record_of, before.modules.parent[gone])])
    rank = _ranks(
        np.concatenate([np.arange(len(after.modules)), anchor[gone]]), _removed_last(len(after.modules), gone)
    )
    ranked_parent = np.empty(len(rank), np.int32)
    ranked_parent[rank] = np.where(parent >= 0, rank[parent], -1)
    position = preorder_positions(ranked_parent)[rank]
    placed_parent = np.empty(len(rank), np.int32)
    placed_parent[position] = np.where(parent >= 0, position[parent], -1)
    return position, placed_parent


def _tensor_order(before: Snapshot, after: Snapshot, match: Match, record_of: IntArray, owner: IntArray) -> IntArray:
    """The rank of each tensor record among the tensors, whose modules are at the places `owner`."""
    gone, count = match.removed_tensors, len(after.tensors)
    if not len(gone):
        return np.arange(count)
    anchor = _anchors(before.tensors.owner, after.tensors.owner, match.tensor_source, record_of, None)
    return _ranks(owner, np.concatenate([np.arange(count), anchor[gone]]), _removed_last(count, gone))


def _removed_last(count: int, gone: IntArray) -> IntArray:
    """Behind the row after which they stand, removed rows come in their own order."""
    return np.concatenate([np.zeros(count, np.int64), gone + 1])


def _ranks(*keys: IntArray) -> IntArray:
    """The place of each record when they are sorted by the keys, the first one above all."""
    rank = np.empty(len(keys[0]), np.int64)
    rank[np.lexsort(keys[::-1])] = np.arange(len(rank))
    return rank


def _records_of_before_modules(before: Snapshot, match: Match, offset: int) -> IntArray:
    record = np.zeros(len(before.modules), np.int64)
    matched = np.flatnonzero(match.module_source >= 0)
    # Backwards, so that the first of several rows that came from one row wins.
    record[match.module_source[matched][::-1]] = matched[::-1]
    record[match.removed_modules] = offset + np.arange(len(match.removed_modules))
    return record


def _owner_records(record_of: IntArray, owners: IntArray) -> IntArray:
    # The model itself can be gone as an object; what replaced it then stands at row 0, and the old one below it.
    return np.where(owners >= 0, record_of[np.maximum(owners, 0)], 0)


def _anchors(
    before_parent: IntArray,
    after_parent: IntArray,
    source: IntArray,
    record_of: IntArray,
    climb: IntArray | None,
) -> IntArray:
    """For each row before: the row after behind which it would stand, were it removed; -1 for the first place.

    Args:
        before_parent: Parent (or owner) module of each row before.
        after_parent: Parent (or owner) module of each row after.
        source: For each row after, the matching row before or -1.
        record_of: For each module before, the record of what it has become.
        climb: Parent of each row before when the rows are modules, to see a wrapper around a row that came out.
    """
    count = len(before_parent)
    if not count:
        return np.zeros(0, np.int64)
    home = _owner_records(record_of, before_parent)
    anchor = np.full(count, -1, np.int64)
    rows = np.flatnonzero(source >= 0)
    anchor[source[rows]] = np.where(after_parent[rows] == home[source[rows]], rows, -1)
    if climb is not None:
        _anchor_wraps(anchor, home, rows, source[rows], after_parent, climb)
    order = np.argsort(before_parent, kind="stable")
    group = np.concatenate([[True], before_parent[order][1:] != before_parent[order][:-1]])
    start = np.maximum.accumulate(np.where(group, np.arange(count), 0))
    latest = np.maximum.accumulate(np.where(anchor[order] >= 0, np.arange(count), -1))
    result = np.empty(count, np.int64)
    result[order] = np.where(latest >= start, anchor[order][np.maximum(latest, 0)], -1)
    return result


def _anchor_wraps(
    anchor: IntArray, home: IntArray, rows: IntArray, source: IntArray, after_parent: IntArray, before_parent: IntArray
) -> None:
    """A row that was put into a wrapper, or came out of one, still marks its place among the old siblings."""
    moved = anchor[source] < 0
    rows, source = rows[moved], source[moved]
    wrapped, target = rows.copy(), home[source]
    came_out, place = source.copy(), after_parent[rows]
    for _ in range(4):  # PEFT nests wrappers a few deep
        wrapped = after_parent[np.maximum(wrapped, 0)]
        found = (wrapped > 0) & (after_parent[np.maximum(wrapped, 0)] == target)
        free = found & (anchor[source] < 0)
        anchor[source[free]] = wrapped[free]
        came_out = before_parent[np.maximum(came_out, 0)]
        found = (came_out > 0) & (home[np.maximum(came_out, 0)] == place)
        free = found & (anchor[np.maximum(came_out, 0)] < 0)
        anchor[came_out[free]] = rows[free]


def subtree_ends(parent: IntArray, depth: IntArray) -> IntArray:
    """For each row of a preorder table, the row after its last descendant.

    Args:
        parent: Row of the parent, -1 for the root.
        depth: Number of ancestors.
    """
    end = np.arange(1, len(parent) + 1)
    order = np.argsort(depth, kind="stable")
    bounds = np.searchsorted(depth[order], np.arange(int(depth.max(initial=0)) + 2))
    for level in range(len(bounds) - 2, 0, -1):
        rows = order[bounds[level] : bounds[level + 1]]
        np.maximum.at(end, parent[rows], end[rows])
    return end
