"""Paths of a recorded tree, spelled out when one is read."""

from __future__ import annotations

from collections.abc import Sequence


class Paths:
    """Dotted paths by record, made from the names on the way down. Holds numbers and strings only.

    Args:
        parents: Index of the parent record, -1 for the root.
        names: Name under its parent, "" for the root.
    """

    def __init__(self, parents: Sequence[int], names: Sequence[str]) -> None:
        self._parents = parents
        self._names = names
        self._known: dict[int, str] = {-1: ""}

    def __getitem__(self, record: int) -> str:
        known = self._known.get(record)
        if known is None:
            above = self[self._parents[record]]
            name = self._names[record]
            known = self._known[record] = f"{above}.{name}" if above else name
        return known

    def below(self, record: int, name: str) -> str:
        """Path of what lies under a name below a record; the record's own path for an empty name."""
        path = self[record]
        return f"{path}.{name}" if path and name else path or name
