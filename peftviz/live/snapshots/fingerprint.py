"""Fingerprints of tensor values: hashes that tell a change of content from no change.

With `full=False` a tensor of up to `SAMPLES` elements is hashed whole, a larger one at `SAMPLES` evenly spaced
elements: a merged delta or a new initialisation touches all of them, a change of single elements may be missed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from itertools import chain
from operator import methodcaller
from typing import Any

import numpy as np
import torch

from peftviz.core.tables import IntArray

SAMPLES = 64

_ORDINARY = frozenset({torch.Tensor, torch.nn.Parameter})
_is_contiguous = methodcaller("is_contiguous")


def fingerprints(tensors: list[torch.Tensor], kinds: list[int], *, full: bool) -> IntArray:
    """A 64-bit hash for each tensor, 0 for those without values (meta, empty, sparse, uninitialised).

    The samples of all tensors of one device and dtype travel to the CPU in one transfer.

    Args:
        tensors: Any tensors.
        kinds: A number for each of them; those of one number have shape, dtype, device and class in common.
        full: Whether all elements are hashed.
    """
    hashes = np.zeros(len(tensors), np.uint64)
    alike: dict[int, list[int]] = defaultdict(list)
    for index, (kind, tensor) in enumerate(zip(kinds, tensors, strict=True)):
        if tensor.layout is torch.strided:
            alike[kind].append(index)
    groups: dict[tuple[torch.device, torch.dtype], list[list[int]]] = defaultdict(list)
    for indices in alike.values():
        first = tensors[indices[0]]
        if not first.is_meta and _has_values(first):
            groups[first.device, first.dtype].append(indices)
    with torch.no_grad():
        for group in groups.values():
            if full:
                for index in chain.from_iterable(group):
                    hashes[index] = _digests(_bytes(tensors[index].detach().flatten()), 1)[0]
                continue
            samples = [_samples([tensors[index] for index in indices]) for indices in group]
            data = _bytes(torch.cat(list(chain.from_iterable(samples))))
            start = 0
            for indices, sample in zip(group, samples, strict=True):
                stop = start + sample[0].nbytes * len(sample)
                hashes[indices] = _digests(data[start:stop], len(sample))
                start = stop
    return hashes


def _has_values(tensor: torch.Tensor) -> bool:
    try:
        return tensor.numel() > 0
    except RuntimeError:  # uninitialised
        return False


def _samples(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The sampled elements of some tensors that are alike."""
    numel = tensors[0].numel()
    step = max(numel // SAMPLES, 1)
    if (step | 1) * (SAMPLES - 1) < numel:
        step |= 1  # an odd step meets all columns of a matrix whose width is a power of two
    shape, stride = (min(numel, SAMPLES),), (step,)
    if type(tensors[0]) in _ORDINARY and all(map(_is_contiguous, tensors)):
        return [tensor.as_strided(shape, stride) for tensor in tensors]
    return [tensor.detach().flatten()[::step][:SAMPLES] for tensor in tensors]


def _bytes(flat: torch.Tensor) -> memoryview:
    whole = flat.resolve_conj().resolve_neg().contiguous().cpu()
    whole = whole.as_strided(whole.shape, (1,))  # a single element counts as contiguous whatever its stride
    array: Any = whole.view(torch.uint8).numpy()
    return memoryview(array)


def _digests(data: memoryview, count: int) -> IntArray:
    """The hashes of as many parts of equal size."""
    size = len(data) // count
    digests = [hashlib.blake2b(data[at : at + size], digest_size=8).digest() for at in range(0, len(data), size)]
    hashes: IntArray = np.maximum(np.frombuffer(b"".join(digests), "<u8"), np.uint64(1))  # 0 stands for "no values"
    return hashes
