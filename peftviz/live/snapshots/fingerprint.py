"""Fingerprints of tensor values: hashes that tell a change of content from no change.

With `full=False` a tensor of up to `SAMPLES` elements is hashed whole, a larger one at `SAMPLES` evenly spaced
elements: a merged delta or a new initialisation touches all of them, a change of single elements may be missed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
import torch

from peftviz.core.tables import IntArray

SAMPLES = 64


def fingerprints(tensors: list[torch.Tensor], *, full: bool) -> IntArray:
    """A 64-bit hash for each tensor, 0 for those without values (meta, empty, sparse, uninitialised).

    The samples of all tensors of one device and dtype travel to the CPU in one transfer.
    """
    hashes = np.zeros(len(tensors), np.uint64)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = defaultdict(list)
    for index, tensor in enumerate(tensors):
        if not tensor.is_meta and tensor.layout is torch.strided and _has_values(tensor):
            groups[tensor.device, tensor.dtype].append(index)
    with torch.no_grad():
        for indices in groups.values():
            if full:
                for index in indices:
                    hashes[index] = _digest(_bytes(tensors[index].detach().flatten()))
                continue
            samples = [_sample(tensors[index].detach()) for index in indices]
            data = _bytes(torch.cat(samples))
            itemsize = samples[0].element_size()
            start = 0
            for index, sample in zip(indices, samples, strict=True):
                stop = start + sample.numel() * itemsize
                hashes[index] = _digest(data[start:stop])
                start = stop
    return hashes


def _has_values(tensor: torch.Tensor) -> bool:
    try:
        return tensor.numel() > 0
    except RuntimeError:  # uninitialised
        return False


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.view(-1) if tensor.is_contiguous() else tensor.flatten()
    numel = flat.numel()
    if numel <= SAMPLES:
        return flat
    step = numel // SAMPLES
    # An odd step meets all columns of a matrix whose width is a power of two.
    return flat[:: step | 1 if (step | 1) * (SAMPLES - 1) < numel else step][:SAMPLES]


def _bytes(flat: torch.Tensor) -> memoryview:
    array: Any = flat.contiguous().cpu().view(torch.uint8).numpy()
    return memoryview(array)


def _digest(data: memoryview) -> int:
    # 0 stands for "no values", so a hash of 0 becomes 1
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1
