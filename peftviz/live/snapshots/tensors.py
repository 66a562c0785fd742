"""Records parameters and buffers in columns, all of a tensor's fields in one visit."""

from __future__ import annotations

from collections.abc import Collection
from itertools import compress
from operator import attrgetter, methodcaller
from typing import Any

import numpy as np
import torch

from peftviz.core.tables import IntArray, TensorFlag, TensorSpec, compact, first_occurrence
from peftviz.live.snapshots.chunks import Chunk, Entries
from peftviz.live.snapshots.fingerprint import fingerprints
from peftviz.live.snapshots.identity import IdentityRegistry
from peftviz.live.snapshots.interning import Interner
from peftviz.live.snapshots.module_state import qualified_name

_PARAMETER = bytes([TensorFlag.PERSISTENT])
_BUFFER = bytes([TensorFlag.BUFFER | TensorFlag.PERSISTENT])
_HIDDEN_BUFFER = bytes([TensorFlag.BUFFER])
_REQUIRES_GRAD = np.uint8(TensorFlag.REQUIRES_GRAD)

_NOWHERE = np.array([0, -1])  # storage and bytes of a tensor without a storage that could be named
_UNKNOWN = np.zeros((), np.uint64)

_kind = attrgetter("shape", "dtype", "device", "__class__", "requires_grad", "_version")
_untyped_storage, _address, _nbytes = methodcaller("untyped_storage"), attrgetter("_cdata"), methodcaller("nbytes")
_is_meta = attrgetter("is_meta")


class TensorRecorder:
    """Collects the tensors of modules chunk by chunk; the columns can be read once they are settled.

    Args:
        registry: Source of the serial numbers.
        values: `"off"`, `"sample"` or `"full"`.
        keep: Whether the tensors themselves are wanted once they are settled.

    Attributes:
        objects: The tensor of each row; empty unless they were kept.
        parameters: Every parameter once, in the order of the rows; empty unless they were kept.
    """

    def __init__(self, registry: IdentityRegistry, *, values: str, keep: bool = False) -> None:
        self.objects: list[torch.Tensor] = []
        self.parameters: list[torch.nn.Parameter] = []
        self._keep = keep
        self._registry = registry
        self._values = values
        self._kinds: Interner[tuple[Any, ...]] = Interner()
        self._meta_kinds: set[int] = set()
        self._kinds_judged = 0
        # By tensor:
        self._records: list[IntArray] = []
        self._name_codes: list[IntArray] = []
        self._flags = bytearray()
        self._tensors: list[torch.Tensor] = []
        self._kind_codes: list[IntArray] = []
        self._storages: list[IntArray] = []
        self._fingerprints: list[IntArray] = []
        self._all_on_meta = True

    def add(self, base: int, chunk: Chunk) -> None:
        """Records the tensors of one chunk of modules.

        Args:
            base: Number of the first record of the chunk.
            chunk: What was read of it.
        """
        if count := self._add(base, chunk.parameters):
            self._flags += _PARAMETER * count
        if self._add(base, chunk.buffers):
            self._flags += b"".join(
                _HIDDEN_BUFFER if name in owner["_non_persistent_buffers_set"] else _BUFFER
                for owner in map(chunk.dicts.__getitem__, dict.fromkeys(chunk.buffers.owners.tolist()))
                for name, buffer in owner["_buffers"].items()
                if buffer is not None
            )

    def _add(self, base: int, found: Entries) -> int:
        """Records some tensors and returns their number."""
        if found.values:
            self._records.append(found.owners + np.int32(base))
            self._name_codes.append(found.names)
            self._look_at(found.values)
            self._tensors += found.values
        return len(found.values)

    def _look_at(self, tensors: list[torch.Tensor]) -> None:
        code = self._kinds.__getitem__
        try:
            kinds = list(map(code, map(_kind, tensors)))
        except RuntimeError:  # a lazy parameter without a shape, an inference tensor without a version
            kinds = [code(_kind_of_odd(tensor)) for tensor in tensors]
        self._kind_codes.append(np.array(kinds, np.int32))
        if len(self._kinds) > self._kinds_judged:
            self._meta_kinds = {code for (_, _, device, *_), code in self._kinds.items() if device.type == "meta"}
            self._kinds_judged = len(self._kinds)
        on_meta = self._meta_kinds.issuperset(kinds)
        self._all_on_meta &= on_meta
        self._storages.append(_repeated(_NOWHERE, len(tensors)) if on_meta else _storages(tensors))
        if self._values != "off":
            full = self._values == "full"
            self._fingerprints.append(
                _repeated(_UNKNOWN, len(tensors)) if on_meta else fingerprints(tensors, kinds, full=full)
            )

    def settle(self, position: IntArray, *, without: Collection[int]) -> None:
        """Puts the columns in the order of the module rows.

        Args:
            position: Module row of each module record.
            without: Module records whose tensors are left out.
        """
        record = drain(self._records)
        row = position[record]
        order = np.argsort(row, kind="stable").astype(np.int32)  # parameters were recorded before buffers beside them
        if without:
            order = order[~np.isin(record[order], list(without))]
        self.owner = row[order]
        del record, row
        self.name = drain(self._name_codes)[order]
        self.flags = np.frombuffer(self._flags, np.uint8)[order]
        self.identity = compact(self._registry.serials(self._tensors), signed=True)[order]
        if self._keep:
            self.objects = list(map(self._tensors.__getitem__, order.tolist()))
            found: Any = list(compress(self.objects, (self.flags & np.uint8(TensorFlag.BUFFER)) == 0))
            self.parameters = list(dict(zip(map(id, found), found, strict=True)).values())
        self._tensors.clear()
        kind = drain(self._kind_codes)[order]
        specs: Interner[tuple[Any, ...]] = Interner()
        self.spec = compact([specs[key[:4]] for key in self._kinds])[kind]
        self.specs = tuple(_spec(*key) for key in specs)
        self.flags |= np.array([grad for *_, grad, _ in self._kinds], np.uint8)[kind] * _REQUIRES_GRAD
        self.version = compact([version for *_, version in self._kinds])[kind]
        self._settle_storages(order)
        if self._values == "off":
            self.fingerprint: IntArray = np.zeros(0, np.uint8)
        elif self._all_on_meta:
            self.fingerprint = np.zeros(len(order), np.uint8)
        else:
            self.fingerprint = drain(self._fingerprints)[order]

    def _settle_storages(self, order: IntArray) -> None:
        if self._all_on_meta:
            self.storage = first_occurrence(self.identity)
            self.odd_storage_rows: IntArray = np.zeros(0, np.int32)
            self.odd_storage_nbytes: IntArray = self.odd_storage_rows
            return
        storage, nbytes = np.concatenate(self._storages, axis=1)[:, order]
        self.storage = first_occurrence(np.where(storage == 0, ~self.identity, storage))
        expected = np.array([spec.nbytes for spec in self.specs], np.int64)[self.spec]
        leader = self.storage == np.arange(len(self.storage))
        self.odd_storage_rows = np.flatnonzero(leader & (nbytes >= 0) & (nbytes != expected))
        self.odd_storage_nbytes = nbytes[self.odd_storage_rows]


def drain(chunks: list[IntArray]) -> IntArray:
    """The chunks of a column as one array; the list is emptied, so that their memory is free again."""
    column: IntArray = np.concatenate(chunks) if chunks else np.zeros(0, np.int32)
    chunks.clear()
    return column


def _repeated(value: IntArray, count: int) -> IntArray:
    """A value as if it stood there many times; `np.broadcast_to` takes ten times as long, which small chunks feel."""
    column: IntArray = np.ndarray((*value.shape, count), value.dtype, value, 0, (*value.strides, 0))
    return column


def _storages(tensors: list[torch.Tensor]) -> IntArray:
    """Storage of each tensor: address of its implementation (never of the data: that is 0 for each empty one), bytes.

    Meta storages hold nothing: there, and where there is no single storage, the object is all there is, and the
    address is given as 0.
    """
    try:
        storages = list(map(_untyped_storage, tensors))
        found = np.array([list(map(_address, storages)), list(map(_nbytes, storages))], np.int64)
    except RuntimeError:  # sparse and other layouts
        found = np.array([_storage_of_odd(tensor) for tensor in tensors], np.int64).T
    on_meta = np.fromiter(map(_is_meta, tensors), bool, len(tensors))
    found[:, on_meta] = _NOWHERE[:, np.newaxis]
    return found


def _storage_of_odd(tensor: torch.Tensor) -> tuple[int, int]:
    try:
        storage = tensor.untyped_storage()
        return storage._cdata, storage.nbytes()
    except RuntimeError:
        return 0, -1


def _kind_of_odd(tensor: torch.Tensor) -> tuple[Any, ...]:
    try:
        shape = tensor.shape
    except RuntimeError:
        shape = torch.Size()
    try:
        version = tensor._version
    except RuntimeError:  # inference tensors keep no count
        version = 0
    return shape, tensor.dtype, tensor.device, type(tensor), tensor.requires_grad, version


def _spec(shape: torch.Size, dtype: torch.dtype, device: torch.device, cls: type) -> TensorSpec:
    numel = shape.numel()
    return TensorSpec(
        shape=tuple(shape),
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        numel=numel,
        nbytes=numel * dtype.itemsize,
        type=qualified_name(cls),
    )
