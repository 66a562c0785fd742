"""The parts of the memory bars: who owns the bytes, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, Role
from peftviz.views.viewmodel.interning import StringPool
from peftviz.views.viewmodel.sides import Side
from peftviz.views.viewmodel.unify import Tree

_BASE_PARTS = 6
"""Parts of the base model that get a label of their own; the rest is summed up."""
_GROUPS = {Role.BASE: "base", Role.WRAPPER: "base", Role.WRAPPED: "base", Role.SHARED: "shared"}

PartKey = tuple[str, str, str, bool]


def memory_parts(
    tree: Tree, before: Side, after: Side, leftover: npt.NDArray[np.bool_], pool: StringPool
) -> list[list[Any]]:
    """The `roles` of a view table: `[label, role, adapter, bytes before, bytes after, leftover]`.

    Args:
        tree: The unified tree.
        before: Side before.
        after: Side after.
        leftover: Rows of the tree that are tensors which should be gone.
        pool: The strings of the columns.

    Returns:
        The base's parts, then the shared ones, then each adapter's; largest first within each group. They add up to
        the totals on both sides. The bytes before of a leftover part are those of the same tensors.
    """
    strings = pool.strings()
    tensor_rows = np.flatnonzero(~tree.module)
    sums: dict[PartKey, list[float]] = {}
    for index, (side, rows) in enumerate(((before, tree.before_row), (after, tree.after_row))):
        here = tensor_rows[rows[tensor_rows] >= 0]
        for key, nbytes in _side_sums(side, rows[here], leftover[here], strings).items():
            sums.setdefault(key, [0.0, 0.0])[index] = nbytes
    names = dict.fromkeys(adapter.name for adapter in (*before.snapshot.adapters, *after.snapshot.adapters))
    order = {name: place for place, name in enumerate(names)}
    parts: list[list[Any]] = [[*key[:3], int(old), int(new), key[3]] for key, (old, new) in sums.items() if old or new]
    parts.sort(key=lambda part: (part[2] != "", part[1] == "shared", order.get(part[2], -1), part[2], -max(part[3:5])))
    return _with_rest(parts)


def _side_sums(
    side: Side, rows: IntArray, leftover: npt.NDArray[np.bool_], strings: tuple[str, ...]
) -> dict[PartKey, float]:
    columns, table = side.tensors, side.snapshot.tensors
    home = _homes(side.snapshot)[table.owner[rows]]
    if not len(rows):
        return {}
    shape = (len(Role), len(strings), len(side.snapshot.names) + 1, 2)
    keys = np.ravel_multi_index((columns.role[rows], columns.adapter[rows], home + 1, leftover.astype(np.int64)), shape)
    distinct, inverse = np.unique(keys, return_inverse=True)
    totals = np.bincount(inverse.reshape(-1), weights=columns.nbytes[rows], minlength=len(distinct))
    places = np.stack(np.unravel_index(distinct, shape), axis=1)
    methods = {adapter.name: adapter.method for adapter in side.snapshot.adapters}
    sums: dict[PartKey, float] = {}
    for (role, adapter, place, left), nbytes in zip(places.tolist(), totals.tolist(), strict=True):
        name, where = strings[adapter], side.snapshot.names[place - 1] if place else "model"
        group = _GROUPS.get(Role(role), "adapter")
        if group == "adapter":
            word = where if role == Role.SAVED else methods.get(name, "") or "weights"
            group, label = ("saved" if role == Role.SAVED else "adapter"), f"{name} · {word}"
        else:
            label = where
        key = (label, group, "" if group in ("base", "shared") else name, bool(left))
        sums[key] = sums.get(key, 0.0) + nbytes
    return sums


def _homes(snapshot: Snapshot) -> IntArray:
    """For each module the name that tells a reader which part of the model it is, as a code; -1 for none.

    That is the list of blocks it stands in (`layers`), or else its own name, or its wrapper's when it is wrapped.
    """
    table = snapshot.modules
    if not len(table):
        return np.zeros(0, np.int64)
    parent = np.maximum(table.parent, 0)
    # Inside a wrapper, the name of the wrapper says more than `original_module`.
    inside = (table.role != Role.BASE) & (table.role[parent] != Role.BASE)
    inside[0] = False
    outer = np.where(inside, parent, np.arange(len(table)))
    while inside[outer].any():
        outer = outer[outer]
    home = table.name.astype(np.int64)
    home[0] = -1
    home = home[outer]
    numbered = np.array([name.isdigit() for name in snapshot.names] or [False], bool)
    blocks = np.flatnonzero(numbered[table.name[1:]]) + 1
    ends = snapshot.subtree_end[blocks]
    outermost = blocks >= np.concatenate([[0], np.maximum.accumulate(ends)[:-1]])
    for name, start, end in zip(table.name[parent[blocks]][outermost], blocks[outermost], ends[outermost], strict=True):
        home[start:end] = name
    return home


def _with_rest(parts: list[list[Any]]) -> list[list[Any]]:
    base = [part for part in parts if part[1] == "base" and not part[5]]
    small = base[_BASE_PARTS:]
    if len(small) < 2:
        return parts
    rest = ["other", "base", "", sum(part[3] for part in small), sum(part[4] for part in small), False]
    names = {part[0] for part in small}
    kept = [part for part in parts if part[1] != "base" or part[5] or part[0] not in names]
    return [*kept[:_BASE_PARTS], rest, *kept[_BASE_PARTS:]]
