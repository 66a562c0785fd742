"""Bytes and elements of a tensor table, what is shared counted once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from peftviz.core.tables import IntArray, TensorSpec, TensorTable, first_occurrence


def storage_bytes(table: TensorTable, specs: Sequence[TensorSpec]) -> IntArray:
    """Bytes by tensor row: the whole storage at the first row that shares it, 0 at the others.

    Args:
        table: The tensors.
        specs: What the column `spec` refers to.
    """
    if not len(table):
        return np.zeros(0, np.int64)
    nbytes = np.array([spec.nbytes for spec in specs], np.int64)[table.spec]
    nbytes[table.odd_storage_rows] = table.odd_storage_nbytes
    return np.where(table.storage == np.arange(len(table)), nbytes, 0)


def elements_once(table: TensorTable, specs: Sequence[TensorSpec], counted_bytes: IntArray) -> IntArray:
    """Elements by tensor row; within one storage, no more than fit into it are counted, first rows first.

    Args:
        table: The tensors.
        specs: What the column `spec` refers to.
        counted_bytes: What `storage_bytes` gives for them.
    """
    if not len(table):
        return np.zeros(0, np.int64)
    numel = np.array([spec.numel for spec in specs], np.int64)
    itemsize = np.array([max(1, spec.nbytes // max(1, spec.numel)) for spec in specs], np.int64)
    counted = np.where(first_occurrence(table.identity) == np.arange(len(table)), numel[table.spec], 0)
    room = (counted_bytes // itemsize[table.spec])[table.storage]
    order = np.argsort(table.storage, kind="stable")
    storage = table.storage[order]
    before = np.cumsum(counted[order]) - counted[order]
    before -= before[np.searchsorted(storage, storage)]
    left = np.empty_like(room)
    left[order] = room[order] - before
    shared = np.bincount(table.storage, minlength=len(table))[table.storage] > 1
    return np.where(shared, np.clip(left, 0, counted), counted)
