"""What holds for the tables of every snapshot, checked before a file is written and after one is read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from peftviz.core.preorder import record_depth
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import (
    IntArray,
    ModuleFlag,
    ModuleTable,
    Role,
    TensorFlag,
    TensorTable,
    first_occurrence,
)

MAX_DEPTH = 1000  # as deep as Python recurses; a deeper tree could not have run
MAX_PATH_PARTS = 2**28  # of all paths together: 500 times the largest model measured
MAX_BYTES = 2.0**62
VALUES = ("off", "sample", "full")


def problem(snapshot: Snapshot) -> str | None:
    """The first thing that is wrong with the tables of a snapshot.

    Returns:
        A phrase for an error message, or None when the snapshot is well formed.
    """
    for why in _problems(snapshot):
        return why
    return None


def parents_of(depth: IntArray) -> IntArray:
    """The parent row of each row in preorder, given the number of its ancestors; -1 for row 0."""
    rows = np.arange(len(depth))
    order = np.argsort(depth, kind="stable")
    keys = depth[order] * (len(depth) + 1) + order
    found = np.searchsorted(keys, (depth - 1) * (len(depth) + 1) + rows) - 1
    return np.where(depth == 0, -1, order[found])


def depth_problem(depth: IntArray) -> str | None:
    """What keeps numbers of ancestors from being those of a tree in preorder."""
    if len(depth) == 0:
        return None
    if depth[0] != 0 or (depth[1:] < 1).any() or (np.diff(depth) > 1).any():
        return "the modules are not in preorder under one root"
    if depth.max() > MAX_DEPTH:
        return f"modules are nested more than {MAX_DEPTH:,} levels deep"
    if depth.sum() > MAX_PATH_PARTS:
        return "its paths are longer than those of any model"
    return None


# Each of these may rely on what comes before it: nobody asks for a second problem.


def _problems(snapshot: Snapshot) -> Iterator[str]:
    modules, tensors = snapshot.modules, snapshot.tensors
    if snapshot.values not in VALUES:
        yield "the way its values were taken is unknown"
    for dictionary in (snapshot.adapter_names, snapshot.states, snapshot.hook_lists):
        if not dictionary or dictionary[0] != "":
            yield "a dictionary lacks the entry that stands for none"
    yield from _module_problems(snapshot, modules)
    yield from _tensor_problems(snapshot, modules, tensors)


def _module_problems(snapshot: Snapshot, table: ModuleTable) -> Iterator[str]:
    count = len(table)
    limits: dict[str, int] = {
        "name": len(snapshot.names),
        "type": len(snapshot.types),
        "flags": sum(ModuleFlag) + 1,
        "role": len(Role),
        "adapter": len(snapshot.adapter_names),
        "state": len(snapshot.states),
        "hooks": len(snapshot.hook_lists),
        "identity": 2**62,
    }
    for name, limit in limits.items():
        yield from _range_problems(f"modules.{name}", getattr(table, name), count, limit)
    rows = np.arange(count)
    if (table.parent >= rows).any() or (table.parent < -1).any() or (count and table.parent[0] != -1):
        yield "a module stands before its parent"
    depth = record_depth(table.parent) if count else table.parent
    if why := depth_problem(depth.astype(np.int64)):
        yield why
    if (parents_of(depth.astype(np.int64)) != table.parent).any():
        yield "the modules are not in preorder"

    alias, target = table.alias_rows, table.alias_targets
    if len(alias) != len(target):
        yield "aliases and their targets differ in number"
    if not _ascending(alias, count) or (target < 0).any() or (target >= alias).any():
        yield "an alias does not point to an earlier row"
        return
    is_alias = np.zeros(count, bool)
    is_alias[alias] = True
    if is_alias[target].any():
        yield "an alias points to an alias"
    if is_alias[table.parent[1:]].any():
        yield "an alias has children"
    if (table.identity[alias] != table.identity[target]).any() or (table.type[alias] != table.type[target]).any():
        yield "an alias is another object than its target"
    if len(np.unique(table.identity[~is_alias])) != count - len(alias):
        yield "one module occurs twice and is not marked as an alias"


def _tensor_problems(snapshot: Snapshot, modules: ModuleTable, table: TensorTable) -> Iterator[str]:
    count = len(table)
    limits: dict[str, int] = {
        "owner": len(modules),
        "name": len(snapshot.names),
        "spec": len(snapshot.specs),
        "flags": sum(TensorFlag) + 1,
        "role": len(Role),
        "adapter": len(snapshot.adapter_names),
        "version": 2**62,
        "identity": 2**62,
        "storage": count,
    }
    for name, limit in limits.items():
        yield from _range_problems(f"tensors.{name}", getattr(table, name), count, limit)
    if len(table.fingerprint) != (0 if snapshot.values == "off" else count):
        yield "fingerprints and tensors differ in number"
    if (np.diff(table.owner.astype(np.int64)) < 0).any():
        yield "the tensors are not in the order of their owners"
    if np.isin(table.owner, modules.alias_rows).any():
        yield "an alias owns tensors"
    rows = np.arange(count)
    if (table.storage > rows).any() or (table.storage[table.storage] != table.storage).any():
        yield "a tensor's storage is not named by its first row"
    if (table.storage != table.storage[first_occurrence(table.identity)]).any():
        yield "one tensor has two storages"
    odd, size = table.odd_storage_rows, table.odd_storage_nbytes
    if len(odd) != len(size) or not _ascending(odd, count) or (size < 0).any() or (table.storage[odd] != odd).any():
        yield "sizes of storages are given for other rows than the first of each"
    if count:
        # As floats: the sum of what a hostile file declares may pass any integer.
        for sizes in ([spec.nbytes for spec in snapshot.specs], [spec.numel for spec in snapshot.specs]):
            if min(sizes) < 0 or max(sizes) >= MAX_BYTES:
                yield "a size is out of range"
            if np.array(sizes, np.float64)[table.spec].sum() + size.astype(np.float64).sum() >= MAX_BYTES:
                yield "its sizes add up to more than any machine holds"


def _range_problems(name: str, column: IntArray, count: int, limit: int) -> Iterator[str]:
    if len(column) != count:
        yield f"column {name} has {len(column):,} rows instead of {count:,}"
    elif count and (int(column.min()) < 0 or int(column.max()) >= limit):
        yield f"column {name} has a value that stands for nothing"


def _ascending(rows: IntArray, limit: int) -> bool:
    return len(rows) == 0 or bool(rows[0] >= 0 and rows[-1] < limit and (np.diff(rows.astype(np.int64)) > 0).all())
