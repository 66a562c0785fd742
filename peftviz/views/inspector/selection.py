"""What is selected in an inspector, and the rows of a view table by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from peftviz.views.renderers.dataframe import table_frame
from peftviz.views.viewmodel.table import ViewTable

if TYPE_CHECKING:
    import pandas as pd


class Selection(Sequence[str]):
    """The rows that are selected in an inspector, by their paths.

    A row that stands for several that are alike, or a group of a table, selects all that it stands for.

    Attributes:
        paths: Dotted paths of modules, parameters and buffers; `""` is the model itself.
    """

    def __init__(self, paths: Sequence[str], table: Callable[[], ViewTable]) -> None:
        """Takes paths, and a way to make the table that they are from."""
        self.paths = tuple(paths)
        self._table = table

    def to_frame(self) -> pd.DataFrame:
        """One row a path, with what the inspector shows of it before and after; bytes count shared storage once.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        table = self._table()
        found = [(path, row) for path in self.paths if (row := row_at(table, path)) is not None]
        return table_frame(table, [path for path, _ in found], [row for _, row in found])

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # slices are for `paths`
        return self.paths[index]

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __eq__(self, other: object) -> bool:
        return self.paths == other.paths if isinstance(other, Selection) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Selection({list(self.paths)})"


def row_at(table: ViewTable, path: str) -> int | None:
    """The row of a dotted path, None when the table has none.

    A module that was exchanged has a row for the old one and a row for the new one; the new one is meant. A path that
    is only of the state before finds the row that was there.
    """
    rows = np.zeros(min(1, len(table)), np.int64)
    for name in path.split(".") if path else ():
        rows = np.flatnonzero(np.isin(table.parent, rows) & np.isin(table.label, _codes(table, name)))
    there = rows[table.after_row[rows] >= 0]
    if len(rows):
        return int((there if len(there) else rows)[0])
    candidates = np.isin(table.label, _codes(table, path.rpartition(".")[2])) | (table.was != 0)
    old = np.flatnonzero(candidates & (table.before_row >= 0)).tolist()
    return next((row for row in old if _old_path(table, row) == path), None)


def _codes(table: ViewTable, text: str) -> list[int]:
    return [code for code, other in enumerate(table.strings) if other == text]


def _old_path(table: ViewTable, row: int) -> str:
    """The path of a row in the state before: what moved says it, and what is below follows."""
    names: list[str] = []
    while row > 0 and not table.was[row]:
        names.append(table.strings[table.label[row]])
        row = int(table.parent[row])
    if table.was[row]:
        names.append(table.strings[table.was[row]])
    return ".".join(reversed(names)).removeprefix("the model.")
