"""Records parameters and buffers in columns, all of a tensor's fields in one visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np
import torch

from peftviz.core.tables import IntArray, TensorFlag, TensorSpec, first_occurrence
from peftviz.live.fingerprint import fingerprints
from peftviz.live.identity import IdentityRegistry
from peftviz.live.interning import Interner
from peftviz.live.module_state import qualified_name

_PARAMETER = int(TensorFlag.PERSISTENT)
_BUFFER = int(TensorFlag.BUFFER | TensorFlag.PERSISTENT)
_HIDDEN_BUFFER = int(TensorFlag.BUFFER)
_REQUIRES_GRAD = np.uint8(TensorFlag.REQUIRES_GRAD)


class TensorRecorder:
    """Collects the tensors of modules chunk by chunk.

    Args:
        names: Interned attribute names, shared with the module walk.
        registry: Source of the serial numbers.
        values: `"off"`, `"sample"` or `"full"`.
    """

    def __init__(self, names: Interner[str], registry: IdentityRegistry, *, values: str) -> None:
        self._names = names
        self._registry = registry
        self._values = values
        self._specs: Interner[tuple[Any, ...]] = Interner()
        self._columns: dict[str, list[IntArray]] = {
            name: []
            for name in (
                *("owner", "name", "spec", "flags", "version"),
                *("identity", "key", "storage_nbytes", "fingerprint"),
            )
        }

    def add(
        self,
        base: int,
        dicts: Sequence[Mapping[str, Any]],
        parameters: Sequence[Mapping[str, torch.Tensor | None]],
        buffers: Sequence[Mapping[str, torch.Tensor | None]],
    ) -> None:
        """Records the tensors of one chunk of modules.

        Args:
            base: Number of the first record of the chunk.
            dicts: The `__dict__` of each module.
            parameters: The `_parameters` in it.
            buffers: The `_buffers` in it.
        """
        owners: list[int] = []
        names: list[int] = []
        flags: list[int] = []
        tensors: list[torch.Tensor] = []
        codes = self._names
        for index in compress(range(len(parameters)), parameters):
            for name, tensor in parameters[index].items():
                if tensor is not None:
                    owners.append(base + index)
                    names.append(codes[name])
                    flags.append(_PARAMETER)
                    tensors.append(tensor)
        for index in compress(range(len(buffers)), buffers):  # sorted by owner later, after the parameters of each
            hidden = dicts[index]["_non_persistent_buffers_set"]
            for name, tensor in buffers[index].items():
                if tensor is not None:
                    owners.append(base + index)
                    names.append(codes[name])
                    flags.append(_HIDDEN_BUFFER if name in hidden else _BUFFER)
                    tensors.append(tensor)
        if tensors:
            columns = self._columns
            columns["owner"].append(np.array(owners, np.int64))
            columns["name"].append(np.array(names, np.int32))
            with torch._C.DisableTorchFunctionSubclass():  # a subclass must not turn a look into a computation
                self._visit(flags, tensors)

    def _visit(self, flags: list[int], tensors: list[torch.Tensor]) -> None:
        specs = self._specs
        try:
            spec = [specs[tensor.shape, tensor.dtype, tensor.device, type(tensor)] for tensor in tensors]
            version = [tensor._version for tensor in tensors]
        except RuntimeError:  # a lazy parameter without a shape, an inference tensor without a version
            spec = [specs[_shape(tensor), tensor.dtype, tensor.device, type(tensor)] for tensor in tensors]
            version = [_version(tensor) for tensor in tensors]
        grads = [tensor.requires_grad for tensor in tensors]
        meta = [tensor.is_meta for tensor in tensors]
        columns = self._columns
        if all(meta):
            key, nbytes = list(map(id, tensors)), np.full(len(tensors), -1)
        else:
            pairs = [_storage(tensor) for tensor in tensors]
            key, nbytes = [pair[0] for pair in pairs], np.array([pair[1] for pair in pairs], np.int64)
        if self._values != "off":
            full = self._values == "full"
            empty = np.zeros(len(tensors), np.uint64)
            columns["fingerprint"].append(empty if all(meta) else fingerprints(tensors, full=full))
        columns["spec"].append(np.array(spec, np.int32))
        columns["flags"].append(np.array(flags, np.uint8) + np.array(grads, np.uint8) * _REQUIRES_GRAD)
        columns["version"].append(np.array(version, np.int64))
        columns["identity"].append(np.array(self._registry.serials(tensors), np.int64))
        columns["key"].append(np.array(key, np.int64))
        columns["storage_nbytes"].append(nbytes)

    def move(self, moved: Mapping[int, int]) -> None:
        """Gives the tensors of some records to others."""
        if moved:
            owner = self._joined("owner")
            self._columns["owner"] = [np.array([moved.get(record, record) for record in owner.tolist()], np.int64)]

    def settle(self, position: IntArray) -> None:
        """Puts the columns in the order of the module rows.

        Args:
            position: Module row of each module record.
        """
        owner = position[self._joined("owner")]
        order = np.argsort(owner, kind="stable")
        self.owner = owner[order]
        self.name, self.spec, self.flags, self.version, self.identity = (
            self._joined(column)[order] for column in ("name", "spec", "flags", "version", "identity")
        )
        self.fingerprint = self._joined("fingerprint")[order] if self._values != "off" else np.zeros(0, np.uint64)
        self.storage = first_occurrence(self._joined("key")[order])
        self.specs = tuple(_spec(*key) for key in self._specs)
        nbytes = self._joined("storage_nbytes")[order]
        expected = np.array([spec.nbytes for spec in self.specs], np.int64)[self.spec]
        leader = self.storage == np.arange(len(self.storage))
        self.odd_storage_rows = np.flatnonzero(leader & (nbytes >= 0) & (nbytes != expected))
        self.odd_storage_nbytes = nbytes[self.odd_storage_rows]
        self._columns.clear()

    def _joined(self, column: str) -> IntArray:
        pieces = self._columns[column]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def _storage(tensor: torch.Tensor) -> tuple[int, int]:
    """Address of the storage's implementation (never of the data: that is 0 for each empty one) and its bytes.

    Meta storages hold nothing: there, and where there is no single storage, the object is all there is.
    """
    if tensor.is_meta:
        return id(tensor), -1
    try:
        storage = tensor.untyped_storage()
        return storage._cdata, storage.nbytes()
    except RuntimeError:  # sparse and other layouts
        return id(tensor), -1


def _shape(tensor: torch.Tensor) -> torch.Size:
    try:
        return tensor.shape
    except RuntimeError:
        return torch.Size()


def _version(tensor: torch.Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # inference tensors keep no count
        return 0


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
