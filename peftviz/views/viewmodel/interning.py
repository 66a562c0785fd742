"""One pool of strings for a whole view table, so that a column of text is a column of integers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from peftviz.core.tables import IntArray


class StringPool:
    """Hands out a code for each distinct string, in the order in which they come; 0 stands for `""`."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {"": 0}

    def code(self, text: str) -> int:
        """The code of one string."""
        return self._codes.setdefault(text, len(self._codes))

    def codes(self, texts: Iterable[str]) -> IntArray:
        """The codes of many strings, shape `(texts,)`."""
        return np.array([self.code(text) for text in texts], np.uint32)

    def strings(self) -> tuple[str, ...]:
        """All strings by their codes."""
        return tuple(self._codes)


class PathMemo:
    """Dotted paths of some rows of a tree, each ancestor joined once only."""

    def __init__(self, parent: IntArray, name: IntArray, names: tuple[str, ...]) -> None:
        self._parent = parent
        self._name = name
        self._names = names
        self._paths: dict[int, str] = {}

    def path(self, row: int) -> str:
        """The path of a row, `""` for the root."""
        missing = []
        while row > 0 and row not in self._paths:
            missing.append(row)
            row = int(self._parent[row])
        path = self._paths[row] if row > 0 else ""
        for below in reversed(missing):
            name = self._names[self._name[below]]
            path = f"{path}.{name}" if path else name
            self._paths[below] = path
        return path
