"""What a reader sees of each module and tensor of one snapshot, as columns over the snapshot's own rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, TensorFlag
from peftviz.views.formatting import format_dtype, format_shape
from peftviz.views.viewmodel.interning import PathMemo, StringPool
from peftviz.views.viewmodel.table import Trainable

MIXED = "mixed"
"""Stands in a module's row where its tensors differ."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Columns:
    """The shown columns of one kind of row; text columns hold codes of the pool.

    `nbytes` and `numel` are those of a row itself, so 0 for modules.
    """

    label: IntArray
    type: IntArray
    shape: IntArray
    dtype: IntArray
    device: IntArray
    trainable: IntArray
    nbytes: Floats
    numel: Floats
    role: IntArray
    adapter: IntArray
    note: IntArray


@dataclass(frozen=True, eq=False)
class Side:
    """One snapshot made ready for a view table.

    Attributes:
        snapshot: The snapshot.
        modules: Columns over its module rows.
        tensors: Columns over its tensor rows.
        paths: Dotted paths, made on demand.
    """

    snapshot: Snapshot
    modules: Columns
    tensors: Columns
    paths: PathMemo

    def tensor_path(self, row: int) -> str:
        """Dotted path of a tensor row."""
        return _tensor_path(self.snapshot, self.paths, row)


def read_side(snapshot: Snapshot, pool: StringPool, classes: dict[str, str]) -> Side:
    """Makes the columns of one snapshot.

    Args:
        snapshot: The snapshot.
        pool: Where strings are interned.
        classes: Short class name by qualified name.
    """
    names = pool.codes(snapshot.names)
    adapters = pool.codes(snapshot.adapter_names)
    paths = PathMemo(snapshot.modules.parent, snapshot.modules.name, snapshot.names)
    tensors = _tensor_columns(snapshot, paths, pool, names, adapters, classes)
    modules = _module_columns(snapshot, tensors, paths, pool, names, adapters, classes)
    return Side(snapshot, modules, tensors, paths)


def _tensor_columns(
    snapshot: Snapshot,
    paths: PathMemo,
    pool: StringPool,
    names: IntArray,
    adapters: IntArray,
    classes: dict[str, str],
) -> Columns:
    table, specs = snapshot.tensors, snapshot.specs
    buffer = (table.flags & TensorFlag.BUFFER) != 0
    plain = np.array([spec.type.rpartition(".")[2] == "Tensor" for spec in specs], bool)
    type_of_spec = pool.codes(classes[spec.type] for spec in specs)
    type_code = _taken(type_of_spec, table.spec)
    type_code[buffer & _taken(plain, table.spec)] = pool.code("Buffer")
    learns = (table.flags & TensorFlag.REQUIRES_GRAD) != 0
    return Columns(
        label=_taken(names, table.name),
        type=type_code,
        shape=_taken(pool.codes(format_shape(spec.shape) for spec in specs), table.spec),
        dtype=_taken(pool.codes(format_dtype(spec.dtype) for spec in specs), table.spec),
        device=_taken(pool.codes(spec.device for spec in specs), table.spec),
        trainable=np.where(learns, Trainable.TRAINABLE, np.where(buffer, Trainable.NONE, Trainable.FROZEN)).astype(
            np.uint8
        ),
        nbytes=snapshot.counted_bytes.astype(np.float64),
        numel=np.where(buffer, 0, snapshot.counted_numel).astype(np.float64),
        role=table.role,
        adapter=_taken(adapters, table.adapter),
        note=_tensor_notes(snapshot, paths, pool),
    )


def _tensor_notes(snapshot: Snapshot, paths: PathMemo, pool: StringPool) -> IntArray:
    table = snapshot.tensors
    note = np.zeros(len(table), np.uint32)
    unsaved = (table.flags & (TensorFlag.BUFFER | TensorFlag.PERSISTENT)) == TensorFlag.BUFFER
    note[unsaved] = pool.code("not in the state dict")
    followers = np.flatnonzero(table.storage != np.arange(len(table)))
    if not len(followers):
        return note
    leaders, first, count = np.unique(table.storage[followers], return_index=True, return_counts=True)
    for leader, other, others in zip(leaders.tolist(), followers[first].tolist(), count.tolist(), strict=True):
        more = f" and {others - 1} more" if others > 1 else ""
        note[leader] = pool.code(f"shared with {_tensor_path(snapshot, paths, other)}{more}")
    of_leader = {row: pool.code(f"shared with {_tensor_path(snapshot, paths, row)}") for row in leaders.tolist()}
    note[followers] = [of_leader[leader] for leader in table.storage[followers].tolist()]
    return note


def _module_columns(
    snapshot: Snapshot,
    tensors: Columns,
    paths: PathMemo,
    pool: StringPool,
    names: IntArray,
    adapters: IntArray,
    classes: dict[str, str],
) -> Columns:
    table = snapshot.modules
    # Rows and tensors are both in preorder, so everything below a module is one stretch of tensor rows.
    starts = snapshot.tensor_starts
    below = (starts[:-1], starts[snapshot.subtree_end])
    mixed = pool.code(MIXED)
    columns = Columns(
        label=_taken(names, table.name),
        type=_taken(pool.codes(classes[name] for name in snapshot.types), table.type),
        shape=_weight_shapes(snapshot, tensors),
        dtype=_alike(tensors.dtype, below, mixed),
        device=_alike(tensors.device, below, mixed),
        trainable=_trainable(tensors.trainable, below),
        nbytes=np.zeros(len(table)),
        numel=np.zeros(len(table)),
        role=table.role,
        adapter=_taken(adapters, table.adapter),
        note=_module_notes(snapshot, paths, pool),
    )
    if len(columns.label):
        columns.label[0] = pool.code(snapshot.root_class)
    for column in (columns.shape, columns.dtype, columns.device, columns.trainable):
        column[table.alias_rows] = column[table.alias_targets]
    return columns


def _module_notes(snapshot: Snapshot, paths: PathMemo, pool: StringPool) -> IntArray:
    table = snapshot.modules
    note = np.zeros(len(table), np.uint32)
    names = snapshot.adapter_names
    active = [code for code, name in enumerate(names) if code and name in snapshot.adapter_state.active]
    parents = np.maximum(table.parent, 0)
    tops = (table.adapter != 0) & (table.adapter != table.adapter[parents])
    note[tops & np.isin(table.adapter, active)] = pool.code("active")
    for row, target in zip(table.alias_rows.tolist(), table.alias_targets.tolist(), strict=True):
        note[row] = pool.code(f"alias of {paths.path(target) or 'the model'}")
    return note


def _weight_shapes(snapshot: Snapshot, tensors: Columns) -> IntArray:
    """The shape of a module's own `weight`, or of its only parameter; else none."""
    table = snapshot.tensors
    shape = np.zeros(len(snapshot.modules), np.uint32)
    parameter = (table.flags & TensorFlag.BUFFER) == 0
    rows = np.flatnonzero(parameter)
    owners, index, count = np.unique(table.owner[rows], return_index=True, return_counts=True)
    shape[owners[count == 1]] = tensors.shape[rows[index[count == 1]]]
    if "weight" in snapshot.names:
        weights = np.flatnonzero(parameter & (table.name == snapshot.names.index("weight")))
        shape[table.owner[weights]] = tensors.shape[weights]
    return shape


def _alike(values: IntArray, below: tuple[IntArray, IntArray], mixed: int) -> IntArray:
    start, end = below
    filled = end > start
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    if not len(changes):
        return np.where(filled, values[0] if len(values) else 0, 0).astype(np.uint32)
    group = np.zeros(len(values) + 1, np.int32)
    group[changes] = 1
    np.cumsum(group, out=group)
    result = np.zeros(len(start), np.uint32)
    first, last = start[filled], end[filled] - 1
    result[filled] = np.where(group[first] == group[last], values[first], mixed)
    return result


def _trainable(values: IntArray, below: tuple[IntArray, IntArray]) -> IntArray:
    start, end = below
    learning, resting = (_running(values == value) for value in (Trainable.TRAINABLE, Trainable.FROZEN))
    learns, rests = learning[end] > learning[start], resting[end] > resting[start]
    result = np.full(len(start), Trainable.NONE, np.uint8)
    result[rests] = Trainable.FROZEN
    result[learns] = Trainable.TRAINABLE
    result[learns & rests] = Trainable.PARTLY
    return result


def _running(counts: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Sums of what stands before each place, and of all."""
    running = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=running[1:])
    return running


def _taken(values: npt.NDArray[Any], codes: IntArray) -> npt.NDArray[Any]:
    return values[codes] if len(values) else np.zeros(len(codes), np.uint32)


def _tensor_path(snapshot: Snapshot, paths: PathMemo, row: int) -> str:
    owner = paths.path(int(snapshot.tensors.owner[row]))
    name = snapshot.names[snapshot.tensors.name[row]]
    return f"{owner}.{name}" if owner else name
