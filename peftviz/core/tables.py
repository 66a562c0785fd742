"""The columns of a snapshot: one numpy array a field, rows in preorder, strings interned."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]


class Role(enum.IntEnum):
    """What a module or tensor is for, as far as PEFT is concerned.

    BASE: part of the model that was there before any adapter.
    WRAPPER: a module that PEFT put around another one (a LoRA layer, `ModulesToSaveWrapper`, the tuner, `PeftModel`).
    WRAPPED: the base module that a wrapper holds (`base_layer`, `original_module`), and all below it.
    ADAPTER: weights that belong to one adapter (`lora_A.default`).
    SAVED: a whole trained copy that belongs to one adapter (`modules_to_save.default`).
    SHARED: owned by PEFT, but by no single adapter (empty containers, VeRA's projections).
    """

    BASE = 0
    WRAPPER = 1
    WRAPPED = 2
    ADAPTER = 3
    SAVED = 4
    SHARED = 5


class ModuleFlag(enum.IntFlag):
    """Bits of `ModuleTable.flags`."""

    TRAINING = 1
    PEFT_CLASS = 2
    """The class is PEFT's own, or derives from one of PEFT's."""


class TensorFlag(enum.IntFlag):
    """Bits of `TensorTable.flags`."""

    BUFFER = 1
    REQUIRES_GRAD = 2
    PERSISTENT = 4


@dataclass(frozen=True)
class TensorSpec:
    """What tensors of one kind have in common; interned in `Snapshot.specs`.

    Attributes:
        shape: Sizes of the dimensions.
        dtype: PyTorch's name without the prefix, as in `"bfloat16"`.
        device: PyTorch's name, as in `"cpu"`, `"cuda:0"` or `"meta"`.
        numel: Number of elements.
        nbytes: Bytes that the elements take (not the storage behind them).
        type: Qualified class name, as in `"torch.nn.parameter.Parameter"`.
    """

    shape: tuple[int, ...]
    dtype: str
    device: str
    numel: int
    nbytes: int
    type: str = "torch.nn.parameter.Parameter"


@dataclass(frozen=True, eq=False)
class ModuleTable:
    """One row a module, in preorder; row 0 is the model itself.

    A module that occurs a second time is a row without descendants whose entry in `alias_rows`/`alias_targets`
    names the row of the first occurrence.

    Attributes:
        parent: Row of the parent module; -1 for row 0.
        name: Code into `Snapshot.names`, the attribute name at the parent.
        type: Code into `Snapshot.types`, the qualified class name.
        flags: Bits of `ModuleFlag`.
        role: Values of `Role`.
        adapter: Code into `Snapshot.adapter_names`; 0 stands for none.
        state: Code into `Snapshot.states`, the instance attributes of PEFT's modules as JSON; 0 stands for none.
        hooks: Code into `Snapshot.hook_lists`; 0 stands for none.
        identity: Serial number of the object in its process; comparable within one `Snapshot.scope` only.
        alias_rows: Rows that are further occurrences, ascending.
        alias_targets: For each of them the row of the first occurrence.
    """

    parent: IntArray
    name: IntArray
    type: IntArray
    flags: IntArray
    role: IntArray
    adapter: IntArray
    state: IntArray
    hooks: IntArray
    identity: IntArray
    alias_rows: IntArray
    alias_targets: IntArray

    def __len__(self) -> int:
        return len(self.parent)


@dataclass(frozen=True, eq=False)
class TensorTable:
    """One row a parameter or buffer, grouped by owner in the order of the module rows.

    Attributes:
        owner: Row of the owning module.
        name: Code into `Snapshot.names`, the attribute name at the owner.
        spec: Code into `Snapshot.specs`.
        flags: Bits of `TensorFlag`.
        role: Values of `Role`.
        adapter: Code into `Snapshot.adapter_names`; 0 stands for none.
        version: PyTorch's in-place version counter.
        identity: Serial number of the tensor object, as for modules.
        storage: The first row that shares this row's storage (its own number when none does).
        fingerprint: 64-bit hash of sampled or all values; 0 where no values are known; empty with `values="off"`.
        odd_storage_rows: Rows (group leaders) whose storage is not as large as the tensor, ascending.
        odd_storage_nbytes: For each of them the bytes of the whole storage.
    """

    owner: IntArray
    name: IntArray
    spec: IntArray
    flags: IntArray
    role: IntArray
    adapter: IntArray
    version: IntArray
    identity: IntArray
    storage: IntArray
    fingerprint: IntArray
    odd_storage_rows: IntArray
    odd_storage_nbytes: IntArray

    def __len__(self) -> int:
        return len(self.owner)


def compact(values: npt.ArrayLike, *, signed: bool = False) -> IntArray:
    """Packs integers into the smallest dtype that holds them and freezes the array."""
    array = np.asarray(values)
    if array.size == 0:
        array = np.zeros(0, np.int32 if signed else np.uint8)
    elif signed:
        array = array.astype(np.int32 if array.min() >= -(2**31) and array.max() < 2**31 else np.int64, copy=False)
    else:
        array = array.astype(np.min_scalar_type(int(array.max())), copy=False)
    return frozen(array)


def frozen(array: IntArray) -> IntArray:
    """Marks an array as read-only and returns it."""
    array.flags.writeable = False
    return array


def first_occurrence(keys: IntArray) -> IntArray:
    """For each row, the first row that has the same key.

    Args:
        keys: One integer a row.

    Returns:
        Row numbers, shape and length as `keys`.
    """
    if len(keys) == 0:
        return np.zeros(0, np.int64)
    ascending = np.sort(keys)
    if (ascending[1:] != ascending[:-1]).all():  # mostly so, and then there is nothing to group
        return np.arange(len(keys))
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(first[inverse.reshape(-1)])
