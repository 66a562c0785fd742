"""The two ways to put a recorded tree into preorder, against recursion."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from peftviz.core.preorder import level_positions, preorder_positions

parents = st.lists(st.integers(0, 30), max_size=30).map(
    lambda choices: [-1, *(choice % (index + 1) for index, choice in enumerate(choices))]
)


def by_recursion(parent: list[int]) -> list[int]:
    position = [0] * len(parent)
    count = 0

    def visit(record: int) -> None:
        nonlocal count
        position[record] = count
        count += 1
        for child, above in enumerate(parent):
            if above == record:
                visit(child)

    visit(0)
    return position


def level_by_level(parent: list[int]) -> tuple[list[int], list[int]]:
    """The same tree with its records level by level, and where each level starts."""
    levels = [[0]]
    while below := [child for above in levels[-1] for child, owner in enumerate(parent) if owner == above]:
        levels.append(below)
    order = [record for level in levels for record in level]
    new = {record: index for index, record in enumerate(order)}
    starts = np.cumsum([0, *map(len, levels)])[:-1].tolist()
    return [-1, *(new[parent[record]] for record in order[1:])], starts


@given(parents)
def test_positions_are_those_of_recursion(parent):
    assert preorder_positions(np.array(parent, np.int32)).tolist() == by_recursion(parent)


@given(parents)
def test_a_tree_recorded_level_by_level_needs_no_sorting(parent):
    records, starts = level_by_level(parent)
    assert level_positions(np.array(records, np.int32), starts).tolist() == by_recursion(records)
