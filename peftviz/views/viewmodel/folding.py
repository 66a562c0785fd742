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
    content, inside = _contents(table)
    # Siblings that follow one another in preorder, the later one right behind the subtree of the earlier one.
    follower = end[rows]
    near = follower < len(table)
    rows, follower = rows[near], follower[near]
    near = (
        (table.parent[rows] == table.parent[follower])
        & (number[follower] == number[rows] + 1)
        & (content[rows] == content[follower])
        & (end[follower] - follower == end[rows] - rows)
    )
    rows, follower = rows[near], follower[near]
    alike = _same_below(inside, rows, follower, end)
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


def _contents(table: ViewTable) -> tuple[Hashes, Hashes]:
    """A hash of what each row shows, its label apart, and one of that and of its place."""
    patterns = table.patterns
    each: Hashes = np.zeros(len(patterns), np.uint64)
    for name in _COLUMNS:
        column = getattr(table, name)[patterns.first]
        each = _mixed(each ^ (column.view(np.uint64) if column.dtype == np.float64 else column.astype(np.uint64)))
    # Remarks and old paths name other rows: that there is one, and of which sort, is what must be alike.
    sorts = np.array([zlib.crc32(" ".join(text.split(" ")[:2]).encode("utf-8", "replace")) for text in table.strings])
    each = _mixed(each ^ sorts[table.note[patterns.first]].astype(np.uint64))
    label, depth = (column[patterns.first].astype(np.uint64) for column in (table.label, table.depth))
    place = _mixed((label << np.uint64(16)) + depth)
    content, inside = each[patterns.of_row], _mixed(each ^ place)[patterns.of_row]
    rows, changes = _changes(table)
    content[rows] = _mixed(content[rows] ^ changes)
    inside[rows] = _mixed(content[rows] ^ place[patterns.of_row[rows]])
    return content, inside


def _changes(table: ViewTable) -> tuple[IntArray, Hashes]:
    """Rows that were elsewhere or have fields that changed, and a hash of these fields in their order."""
    rows, kinds, changes = table.change_kinds
    texts = ("\0".join(map(str, change)).encode("utf-8", "replace") for change in changes)
    sums = np.fromiter(map(zlib.crc32, texts), np.uint64, len(changes))[kinds]
    place = (np.arange(len(rows)) - np.searchsorted(rows, rows)).astype(np.uint64)  # among those of the row
    told = np.unique(np.concatenate([rows, np.flatnonzero(table.was)]))
    total = (table.was[told] != 0).astype(np.uint64)
    np.add.at(total, np.searchsorted(told, rows), _mixed(sums ^ (place << np.uint64(32))))
    return told, total


def _same_below(values: Hashes, rows: IntArray, others: IntArray, end: IntArray) -> npt.NDArray[np.bool_]:
    """Whether two subtrees of one size have the same values below their topmost rows, by a polynomial over each."""
    with np.errstate(over="ignore"):
        powers = np.full(len(values) + 1, np.uint64(0xD1342543DE82EF95))
        powers[0] = 1
        np.cumprod(powers, out=powers)
        running = np.concatenate([[np.uint64(0)], np.cumsum(values * powers[:-1])])
        below, other = (running[end[top]] - running[top + 1] for top in (rows, others))
        return np.asarray(below * powers[others - rows] == other)


def _mixed(values: Hashes) -> Hashes:
    """Spreads the bits of 64-bit numbers (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        result: Hashes = values ^ (values >> np.uint64(31))
    return result
