"""Puts a recorded tree into preorder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peftviz.core.tables import IntArray


def preorder_positions(parent: IntArray) -> IntArray:
    """Position in preorder of each recorded node.

    Args:
        parent: Index of the parent record, -1 for the root. Parents come before their children, and the children
            of one parent come in their order (other nodes may stand in between).

    Returns:
        For each record its row in preorder, shape `(records,)`.
    """
    count = len(parent)
    parent = parent.astype(np.int32, copy=False)
    depth = record_depth(parent)
    by_depth = np.argsort(depth, kind="stable")
    bounds = np.searchsorted(depth[by_depth], np.arange(int(depth.max(initial=0)) + 2))
    levels = [by_depth[bounds[level] : bounds[level + 1]] for level in range(len(bounds) - 1)]
    size = np.ones(count, np.int32)
    for level in reversed(levels[1:]):
        np.add.at(size, parent[level], size[level])
    position = np.zeros(count, np.int32)
    for level in levels[1:]:
        siblings = level[np.argsort(parent[level], kind="stable")]
        owner = parent[siblings]
        before = np.cumsum(size[siblings], dtype=np.int32) - size[siblings]
        first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        offset = np.repeat(before[first], np.diff(np.r_[first, len(siblings)]))
        position[siblings] = position[owner] + 1 + before - offset
    return position


def level_positions(parent: IntArray, starts: Sequence[int]) -> IntArray:
    """As `preorder_positions`, for a tree recorded level by level: without sorting, and several times faster.

    Args:
        parent: Index of the parent record, -1 for the root. A level comes after the one above it, and within a level
            the parents ascend.
        starts: First record of each level.

    Returns:
        For each record its row in preorder, shape `(records,)`.
    """
    bounds = [*starts, len(parent)]
    levels = [
        (slice(above, start), slice(start, stop), parent[start:stop] - above)
        for above, start, stop in zip(bounds, bounds[1:], bounds[2:], strict=False)
    ]
    size = np.ones(len(parent), np.int32)
    for above, level, owner in reversed(levels):
        size[above] += np.bincount(owner, size[level], above.stop - above.start).astype(np.int32)
    position = np.zeros(len(parent), np.int32)
    for above, level, owner in levels:
        before = np.cumsum(size[level], dtype=np.int32) - size[level]
        position[level] = position[above][owner] + 1 + before - before[np.searchsorted(owner, owner)]
    return position


def subtree_ends(parent: IntArray) -> IntArray:
    """For each row of a tree in preorder, the row after its last descendant: where the next sibling stands.

    A last child ends where its parent does, and the root after the last row.

    Args:
        parent: Row of the parent, -1 for the root.

    Returns:
        Shape `(rows,)`.
    """
    order = np.argsort(parent, kind="stable")
    siblings = parent[order]
    beside = siblings[1:] == siblings[:-1]
    row = order[:-1][beside]
    end = np.full(len(parent), len(parent))
    end[row] = order[1:][beside]
    source = np.maximum(parent, 0).astype(np.int64)
    source[row] = row
    while not np.array_equal(source, further := source[source]):  # each turn doubles how far it looks
        source = further
    return end[source]


def record_depth(parent: IntArray) -> IntArray:
    """Number of ancestors of each record. Shape `(records,)`."""
    ancestor = np.append(parent, -1).astype(
        np.int32
    )  # a root's ancestor of -1 reads the last entry, which says so again
    depth = (ancestor >= 0).astype(np.uint16)  # numpy sorts 16 bits by radix, much faster than more
    while (ancestor >= 0).any():  # each round doubles how far up a record looks
        depth += depth[ancestor]
        ancestor = ancestor[ancestor]
    return depth[:-1]
