"""Fault injection: the journal fails at one mutation, and each mutation has its turn."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from peftviz.live.removal.journal import Journal
from tests.oracle import photograph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest
    import torch

MANY = 5
"""So many mutations at the least in each scenario: the loop below is not empty."""


class Fault(Exception):
    """Raised by the tests only."""


class Faulty:
    """Makes the journal fail at one mutation, and counts the mutations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.fail_at = -1
        self.error: type[BaseException] = Fault
        faulty = self

        def checkpoint(_: Journal) -> None:
            faulty.count += 1
            if faulty.count == faulty.fail_at:
                raise faulty.error

        monkeypatch.setattr(Journal, "checkpoint", checkpoint)

    @contextmanager
    def at(self, number: int) -> Iterator[None]:
        """The mutation of this number fails."""
        self.count, self.fail_at = 0, number
        yield


def assert_every_fault_is_undone(
    model: torch.nn.Module, operation: Callable[[], object], monkeypatch: pytest.MonkeyPatch, *, every: int = 1
) -> int:
    """Lets an operation fail at each of its mutations, or each of so many, and then do its work.

    Returns:
        The number of mutations, all of which were made in the end.
    """
    before = photograph(model)
    faulty = Faulty(monkeypatch)
    failed = []
    while True:
        with faulty.at(1 + every * len(failed)):
            try:
                operation()
            except Fault:
                failed.append(faulty.fail_at)
            else:
                break
        after = photograph(model)
        assert [key for key in before if before[key] != after.get(key)] == []
        assert before == after
    assert faulty.count >= MANY
    assert failed == list(range(1, faulty.count + 1, every))
    return faulty.count
