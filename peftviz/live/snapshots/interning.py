"""Interning at dictionary speed: a code for each distinct key, in order of appearance."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


class Interner(dict[K, int]):
    """Maps keys to consecutive codes; a key not seen before gets the next one.

    Args:
        first: Keys that get the first codes.
    """

    def __init__(self, first: Iterable[K] = ()) -> None:
        super().__init__()
        for key in first:
            self[key]

    def __missing__(self, key: K) -> int:
        code = self[key] = len(self)
        return code
