"""Grouping and listing by columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from peftviz.core.tables import IntArray


def distinct(*columns: IntArray) -> Iterator[tuple[Any, ...]]:
    """The distinct combinations of some columns, in ascending order, each with the positions where it occurs.

    Yields:
        One value of each column, then the positions, ascending.
    """
    if len(columns[0]) == 0:
        return
    order = np.lexsort(columns[::-1])
    change = np.zeros(len(order), bool)
    for column in columns:
        change[1:] |= column[order][1:] != column[order][:-1]
    for positions in np.split(order, np.flatnonzero(change)):
        yield (*(int(column[positions[0]]) for column in columns), np.sort(positions))


def once(values: IntArray) -> IntArray:
    """The distinct values, ascending: `np.unique`, whose hash table takes many times as long on long columns."""
    ascending = np.sort(values, axis=None)
    return ascending[np.concatenate([[True], ascending[1:] != ascending[:-1]])] if len(ascending) else ascending
