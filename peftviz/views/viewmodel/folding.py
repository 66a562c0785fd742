"""Finds runs of numbered siblings that are alike: `layers.0–31: 32 alike`."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from peftviz.core.tables import IntArray
from peftviz.views.viewmodel.table import ViewTable

Hashes = npt.NDArray[np.unsignedinteger[Any]]

_COLUMNS = (
    "kind", "status", "role", "adapter",
    "type_before", "type_after", "shape_before", "shape_after", "dtype_before", "dtype_after",
    "device_before", "device_after", "trainable_before", "trainable_after",
    "bytes_before", "bytes_after", "numel_before", "numel_after",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Neighbouring siblings with consecutive numbers whose whole subtrees are alike.

    Attributes:
        first: Row of the first one, which stands for all.
        rows: Rows of all, ascending.
        label: Their numbers, as in `"0–31"`.
    """

    first: int
    rows: tuple[int, ...]
    label: str

    def __len__(self) -> int:
        return len(self.rows)


def find_runs(table: ViewTable) -> dict[int, Run]:
    """The runs of a view table, by the row of their first member; a run has at least two members.

    Two rows are alike when they and all rows below them show the same in every column, the numbers apart.

    `ViewTable.runs` finds them once.
    """
    end = table.end
    number = _numbers(table)
    rows = np.flatnonzero(number >= 0)
    if len(rows) < 2:
        return {}
    content = _contents(table)
    below = _stretch_hashes(_mixed(content ^ _mixed(_placed(table))), end)
    # Siblings that follow one another in preorder, the later one right behind the subtree of the earlier one.
    follower = end[rows]
    near = follower < len(table)
    rows, follower = rows[near], follower[near]
    alike = (
        (table.parent[rows] == table.parent[follower])
        & (number[follower] == number[rows] + 1)
        & (content[rows] == content[follower])
        & (below[rows] == below[follower])
        & (end[follower] - follower == end[rows] - rows)
    )
    links = dict(zip(rows[alike].tolist(), follower[alike].tolist(), strict=True))
    heads = sorted(set(links) - set(links.values()))
    runs: dict[int, Run] = {}
    for head in heads:
        members = [head]
        while members[-1] in links:
            members.append(links[members[-1]])
        first, last = (table.strings[table.label[row]] for row in (members[0], members[-1]))
        runs[head] = Run(head, tuple(members), f"{first}–{last}")
    return runs


def _numbers(table: ViewTable) -> npt.NDArray[np.int64]:
    """The number that a row's label is, -1 for other labels."""
    numbers = [text.isascii() and text.isdigit() and len(text) < 10 for text in table.strings]
    pairs = zip(table.strings, numbers, strict=True)
    value = np.array([int(text) if number else -1 for text, number in pairs], np.int64)
    return np.asarray(value[table.label])


def _contents(table: ViewTable) -> Hashes:
    """A hash of what each row shows, its label apart."""
    total: Hashes = np.zeros(len(table), np.uint64)
    for name in _COLUMNS:
        column = getattr(table, name)
        if (column == column[0]).all():
            continue  # tells no row from another
        bits = column.view(np.uint64) if column.dtype == np.float64 else column.astype(np.uint64)
        total = _mixed(total ^ bits)
    # Remarks and old paths name other rows: that there is one, and of which sort, is what must be alike.
    sorts = np.array([zlib.crc32(" ".join(text.split(" ")[:2]).encode("utf-8", "replace")) for text in table.strings])
    total = _mixed(total ^ sorts[table.note].astype(np.uint64))
    total = _mixed(total ^ (table.was != 0).astype(np.uint64))
    return _mixed(total ^ _changes(table))


def _changes(table: ViewTable) -> Hashes:
    """A hash of the fields of each row that changed, in their order; 0 for rows without."""
    total: Hashes = np.zeros(len(table), np.uint64)
    texts = (f"{field}\0{before}\0{after}".encode("utf-8", "replace") for _, field, before, after in table.changes)
    sums = np.fromiter(map(zlib.crc32, texts), np.uint64, len(table.changes))
    rows = np.fromiter((change[0] for change in table.changes), np.int64, len(table.changes))
    place = (np.arange(len(rows)) - np.searchsorted(rows, rows)).astype(np.uint64)  # among those of the row
    np.add.at(total, rows, _mixed(sums ^ (place << np.uint64(32))))
    return total


def _placed(table: ViewTable) -> Hashes:
    placed: Hashes = (table.label.astype(np.uint64) << np.uint64(16)) + table.depth.astype(np.uint64)
    return placed


def _stretch_hashes(values: Hashes, end: IntArray) -> Hashes:
    """For each row a hash of the rows below it, in their order: a polynomial over the stretch of rows."""
    count = len(values)
    base, inverse = np.uint64(0xD1342543DE82EF95), np.uint64(pow(0xD1342543DE82EF95, -1, 1 << 64))
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.concatenate([[np.uint64(1)], np.full(count, base)]), dtype=np.uint64)
        inverses = np.cumprod(np.concatenate([[np.uint64(1)], np.full(count, inverse)]), dtype=np.uint64)
        running = np.concatenate([[np.uint64(0)], np.cumsum(values * powers[:count], dtype=np.uint64)])
        start = np.arange(1, count + 1)
        result: Hashes = (running[end] - running[start]) * inverses[start]
    return result


def _mixed(values: Hashes) -> Hashes:
    """Spreads the bits of 64-bit numbers (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        result: Hashes = values ^ (values >> np.uint64(31))
    return result
