"""Records parameters and buffers in columns, all of a tensor's fields in one visit."""

from __future__ import annotations

from array import array
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
        self._meta_specs: set[int] = set()
        self._specs_judged = 0
        self._owners, self._name_codes, self._spec_codes = array("i"), array("i"), array("i")
        self._flags, self._grads = array("B"), array("B")
        self._versions, self._identities = array("q"), array("q")
        self._storages, self._storage_nbytes = array("q"), array("q")
        self._fingerprints: list[IntArray] = []

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
        owners, names, flags = self._owners, self._name_codes, self._flags
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
            with torch._C.DisableTorchFunctionSubclass():  # a subclass must not turn a look into a computation
                self._visit(tensors)

    def _visit(self, tensors: list[torch.Tensor]) -> None:
        specs = self._specs
        try:
            spec = [specs[tensor.shape, tensor.dtype, tensor.device, type(tensor)] for tensor in tensors]
            self._versions.extend([tensor._version for tensor in tensors])
        except RuntimeError:  # a lazy parameter without a shape, an inference tensor without a version
            spec = [specs[_shape(tensor), tensor.dtype, tensor.device, type(tensor)] for tensor in tensors]
            self._versions.extend([_version(tensor) for tensor in tensors])
        self._spec_codes.extend(spec)
        self._grads.extend([tensor.requires_grad for tensor in tensors])
        self._identities.extend(self._registry.serials(tensors))
        if len(specs) > self._specs_judged:
            self._meta_specs = {code for (_, _, device, _), code in specs.items() if device.type == "meta"}
            self._specs_judged = len(specs)
        nowhere = self._meta_specs.issuperset(spec)
        if nowhere:
            self._storages.extend(map(id, tensors))
            self._storage_nbytes.extend([-1] * len(tensors))
        else:
            for tensor in tensors:
                key, nbytes = _storage(tensor)
                self._storages.append(key)
                self._storage_nbytes.append(nbytes)
        if self._values != "off":
            full = self._values == "full"
            hashes = np.zeros(len(tensors), np.uint64) if nowhere else fingerprints(tensors, full=full)
            self._fingerprints.append(hashes)

    def move(self, moved: Mapping[int, int]) -> None:
        """Gives the tensors of some records to others."""
        if moved:
            self._owners = array("i", [moved.get(record, record) for record in self._owners])

    def settle(self, position: IntArray) -> None:
        """Puts the columns in the order of the module rows.

        Args:
            position: Module row of each module record.
        """
        owner = position[column(self._owners)]
        order = np.argsort(owner, kind="stable")
        self.owner = owner[order]
        self.name, self.spec = column(self._name_codes)[order], column(self._spec_codes)[order]
        self.flags = (column(self._flags) + column(self._grads) * _REQUIRES_GRAD)[order]
        self.version, self.identity = column(self._versions)[order], column(self._identities)[order]
        taken = self._values != "off" and len(order) > 0
        self.fingerprint = np.concatenate(self._fingerprints)[order] if taken else np.zeros(0, np.uint64)
        self.storage = first_occurrence(column(self._storages)[order])
        self.specs = tuple(_spec(*key) for key in self._specs)
        nbytes = column(self._storage_nbytes)[order]
        expected = np.array([spec.nbytes for spec in self.specs], np.int64)[self.spec]
        leader = self.storage == np.arange(len(self.storage))
        self.odd_storage_rows = np.flatnonzero(leader & (nbytes >= 0) & (nbytes != expected))
        self.odd_storage_nbytes = nbytes[self.odd_storage_rows]


def column(values: array[int]) -> IntArray:
    """The numbers of an `array` as a numpy column, without a copy."""
    return np.frombuffer(values, dtype=values.typecode) if values else np.zeros(0, values.typecode)


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
