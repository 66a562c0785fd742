"""The combinations of values that rows show: right even where hashes fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from peftviz.views.viewmodel import patterns
from peftviz.views.viewmodel.patterns import find_patterns

Columns = dict[str, npt.NDArray[Any]]


@pytest.fixture
def columns() -> Columns:
    rng = np.random.default_rng(0)
    return {
        "kind": rng.integers(0, 3, 5_000).astype(np.uint8),
        "label": rng.integers(0, 40, 5_000).astype(np.uint32),
        "bytes": (rng.integers(0, 4, 5_000) * 2.0**33).astype(np.float64),
        "other": (rng.integers(0, 4, 5_000) * 2.0**33).astype(np.float64),
    }


def rows_of(columns: Columns) -> list[tuple[float, ...]]:
    return list(zip(*(column.tolist() for column in columns.values()), strict=True))


def check(columns: Columns) -> None:
    found = find_patterns(columns)
    rows = rows_of(columns)
    told = rows_of({name: column[found.first] for name, column in columns.items()})
    assert len(set(told)) == len(told) == len(set(rows)), "each combination once"
    assert [told[number] for number in found.of_row.tolist()] == rows


def test_every_combination_once(columns: Columns) -> None:
    check(columns)


def test_hashes_that_collide_are_noticed(columns: Columns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_hashes", lambda columns: columns["label"].astype(np.uint64))
    check(columns)


def test_no_rows_no_combinations() -> None:
    found = find_patterns({"kind": np.zeros(0, np.uint8)})
    assert (len(found), len(found.of_row)) == (0, 0)


def test_the_first_row_stands_for_those_like_it() -> None:
    found = find_patterns({"kind": np.array([7, 3, 7, 3, 3], np.uint8)})
    assert sorted(found.first.tolist()) == [0, 1]
