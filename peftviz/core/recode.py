"""Brings the interned codes of two snapshots to one dictionary, so that whole columns can be compared."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, ModuleFlag, TensorFlag, first_occurrence

Recode = Callable[[IntArray], IntArray]


@dataclass(frozen=True, eq=False)
class Columns:
    """The comparable columns of one snapshot, its codes meaning the same as those of the other one.

    Attributes:
        names: Name of each module row.
        modules: By field that a diff compares, besides the place in the tree, one value a module row.
        tensor_names: Name of each tensor row.
        tensors: By field that a diff compares, besides the place and the sharing of storage, one value a tensor row.
    """

    names: IntArray
    modules: dict[str, IntArray]
    tensor_names: IntArray
    tensors: dict[str, IntArray]


def shared_columns(a: Snapshot, b: Snapshot) -> tuple[Columns, Columns]:
    """Columns of two snapshots over common dictionaries."""
    names = _common(a.names, b.names)
    types = _common(a.types, b.types)
    adapters = _common(a.adapter_names, b.adapter_names)
    states = _common(a.states, b.states)
    hooks = _common(a.hook_lists, b.hook_lists)
    specs = {
        field: _common([getattr(spec, name) for spec in a.specs], [getattr(spec, name) for spec in b.specs])
        for field, name in (("shape", "shape"), ("dtype", "dtype"), ("device", "device"), ("class", "type"))
    }

    def columns(snapshot: Snapshot, side: int) -> Columns:
        # Flags by `.value`: numpy takes several times as long over a member of an enum.
        modules, tensors = snapshot.modules, snapshot.tensors
        flags = tensors.flags
        return Columns(
            names=names[side](modules.name),
            modules={
                "type": types[side](modules.type),
                "training": modules.flags & ModuleFlag.TRAINING.value,
                "role": modules.role,
                "adapter": adapters[side](modules.adapter),
                "state": states[side](modules.state),
                "hooks": hooks[side](modules.hooks),
            },
            tensor_names=names[side](tensors.name),
            tensors={
                **{field: table[side](tensors.spec) for field, table in specs.items()},
                "kind": flags & TensorFlag.BUFFER.value,
                "requires_grad": flags & TensorFlag.REQUIRES_GRAD.value,
                "persistent": flags & TensorFlag.PERSISTENT.value,
                "role": tensors.role,
                "adapter": adapters[side](tensors.adapter),
                "version": tensors.version,
                "values": fingerprints(snapshot),
                "storage_nbytes": storage_nbytes(snapshot),
            },
        )

    return columns(a, 0), columns(b, 1)


def fingerprints(snapshot: Snapshot) -> IntArray:
    """Fingerprint of each tensor row, 0 where none was taken."""
    taken = snapshot.tensors.fingerprint
    return taken if len(taken) else np.zeros(len(snapshot.tensors), np.uint8)


def storage_nbytes(snapshot: Snapshot) -> IntArray:
    """Bytes of a storage that is larger or smaller than its first tensor, by tensor row; -1 elsewhere."""
    rows, nbytes = snapshot.tensors.odd_storage_rows, snapshot.tensors.odd_storage_nbytes
    column = np.full(len(snapshot.tensors), -1, nbytes.dtype)
    column[rows] = nbytes
    return column


def alias_targets(snapshot: Snapshot) -> IntArray:
    """For each module row, the row of the first occurrence of its module."""
    column = np.arange(len(snapshot.modules))
    column[snapshot.modules.alias_rows] = snapshot.modules.alias_targets
    return column


def tensor_aliases(snapshot: Snapshot) -> IntArray:
    """For each tensor row, the first row that is the same tensor object."""
    return first_occurrence(snapshot.tensors.identity)


def shares_storage(snapshot: Snapshot) -> bool:
    """Whether tensor rows share a storage; where none do, no tensor object occurs twice."""
    storage = snapshot.tensors.storage
    return bool((storage != np.arange(len(storage), dtype=storage.dtype)).any())


def _common(a: Sequence[Hashable], b: Sequence[Hashable]) -> tuple[Recode, Recode]:
    """What turns the codes of two dictionaries into codes of one; entries that are alike get the same code."""
    codes = {value: code for code, value in enumerate(dict.fromkeys((*a, *b)))}
    if len(a) == len(b) == len(codes) and a == b:
        return np.asarray, np.asarray
    dtype = np.min_scalar_type(len(codes))
    ours, theirs = (np.fromiter(map(codes.__getitem__, side), dtype, len(side)) for side in (a, b))
    return ours.take, theirs.take
