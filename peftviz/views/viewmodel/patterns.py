"""What the rows of a table show, each combination once: a million rows show a few hundred."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peftviz.core.tables import IntArray

_MULTIPLIER = np.uint64(0xD1342543DE82EF95)
_FOLD = np.uint64(29)


@dataclass(frozen=True, eq=False)
class Patterns:
    """The distinct combinations of values that the rows of some columns hold.

    Attributes:
        of_row: For each row the number of its combination (uint16, or uint32 when there are many).
        first: For each combination the first row that holds it.
    """

    of_row: IntArray
    first: IntArray

    def __len__(self) -> int:
        return len(self.first)


def find_patterns(columns: Mapping[str, npt.NDArray[Any]]) -> Patterns:
    """Numbers the distinct rows; the same columns give the same numbers.

    Args:
        columns: Columns of one length, of unsigned integers or float64.
    """
    hashes = _hashes(columns)
    known = np.sort(hashes)
    known = known[np.concatenate([[True], known[1:] != known[:-1]])] if len(known) else known
    of_row = np.searchsorted(known, hashes).astype(np.uint16 if len(known) <= 1 << 16 else np.uint32)
    first = np.empty(len(known), np.int64)
    first[of_row[::-1]] = np.arange(len(hashes) - 1, -1, -1)
    found = Patterns(of_row, first)
    # Two combinations with one hash would show rows as what they are not: so improbable that it may be slow, not wrong.
    return found if all(_holds(found, column) for column in columns.values()) else _compared(columns)


def _hashes(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint64]:
    total = np.zeros(len(next(iter(columns.values()))), np.uint64)
    with np.errstate(over="ignore"):
        for column in columns.values():
            np.multiply(total, _MULTIPLIER, out=total)
            if column.dtype == np.float64:
                total ^= column.view(np.uint64)
                total ^= total >> _FOLD  # sizes are round numbers, whose low bits are all 0
            else:
                np.add(total, column, out=total, casting="unsafe")
    return total


def _holds(patterns: Patterns, column: npt.NDArray[Any]) -> bool:
    return bool((column[patterns.first][patterns.of_row] == column).all())


def _compared(columns: Mapping[str, npt.NDArray[Any]]) -> Patterns:
    codes = np.zeros(len(next(iter(columns.values()))), np.int64)
    for column in columns.values():
        values, own = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(values) + own.reshape(-1), return_inverse=True)[1].reshape(-1)
    _, first, of_row = np.unique(codes, return_index=True, return_inverse=True)
    return Patterns(of_row.reshape(-1).astype(np.uint32), first)


def change_kinds(changes: Sequence[Sequence[Any]]) -> tuple[IntArray, IntArray, list[list[Any]]]:
    """Rows, kind of each, and the distinct `[field, before, after]` in the order in which they come.

    Args:
        changes: `[row, field, before, after]` of each changed field.
    """
    kinds: dict[str, int] = {}
    distinct: list[list[Any]] = []
    # What many rows have in common is mostly the same objects; a text of each, to compare, takes much longer.
    of_objects: dict[tuple[str, int, int], int] = {}
    codes = np.zeros(len(changes), np.int64)
    for place, (_, field, before, after) in enumerate(changes):
        objects = (field, id(before), id(after))
        code = of_objects.get(objects)
        if code is None:
            change = [field, before, after]
            code = of_objects[objects] = kinds.setdefault(json.dumps(change, default=repr), len(distinct))
            if code == len(distinct):
                distinct.append(change)
        codes[place] = code
    return np.fromiter((change[0] for change in changes), np.int64, len(changes)), codes, distinct
