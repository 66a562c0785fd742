"""The tree of a view table as people read it on a page: what matters, with its context, alike runs folded, capped.

Text and static HTML draw the same outline. The widget has its own, live one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from peftviz.core.tables import Role
from peftviz.views.viewmodel.folding import Run
from peftviz.views.viewmodel.remembered import remembered
from peftviz.views.viewmodel.table import RED, RowKind, Status, ViewTable

_MAX_DEPTH = 60
"""Levels of the tree that are shown; a page that nests deeper cannot be read."""


@dataclass
class Node:
    """One line of the outline.

    Attributes:
        row: Row of the table that the line shows.
        labels: Names from the line above to this row; several when a chain of modules was joined.
        run: The run that this line stands for, when it does.
        children: Lines below.
        cut: Number of lines below that were left out for length.
    """

    row: int
    labels: tuple[str, ...]
    run: Run | None = None
    children: list[Node] = field(default_factory=list)
    cut: int = 0

    def walk(self) -> Iterator[Node]:
        """This line and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class Outline:
    """The lines of a table, and what is not among them.

    Attributes:
        root: The first line.
        lines: Number of lines.
        unchanged: Rows of a diff that are not shown because nothing happened to them.
        empty: Rows not shown because they hold no tensor.
        folded: Rows that a run stands for.
        cut: Lines left out because there are too many.
    """

    root: Node
    lines: int
    unchanged: int
    empty: int
    folded: int
    cut: int


def outline(table: ViewTable, *, limit: int, root: int = 0) -> Outline:
    """Chooses the lines.

    Of a diff only rows that something happened to, and the way to them; of a single state the modules.

    Args:
        table: The table, with at least one row.
        limit: Most lines. Red rows and the way to them come first, then the others in breadth.
        root: Row to begin at; a row that a run stands for is shown by itself.
    """
    return (_Outliner(table, root) if root else _whole(table)).outline(limit)


@remembered
def _whole(table: ViewTable) -> _Outliner:
    return _Outliner(table, 0)


class _Outliner:
    def __init__(self, table: ViewTable, root: int) -> None:
        self._table = table
        self._root = root
        self._end = table.end
        self._runs = table.runs
        self._folded = self._members()
        self._red = self._reaches(np.isin(table.status, RED))
        self._candidates, self._unchanged, self._empty = self._choose()
        self._shown = self._candidates & ~self._folded
        self._shown[root] = True
        self._children = self._child_lists()

    def outline(self, limit: int) -> Outline:
        kept, cut = self._within(limit)
        root = self._node(self._root, kept)
        folded = int(np.count_nonzero(self._folded & self._candidates))
        return Outline(root, len(list(root.walk())), self._unchanged, self._empty, folded, cut)

    def _choose(self) -> tuple[npt.NDArray[np.bool_], int, int]:
        table = self._table
        red = self._red
        held = (table.bytes_before != 0) | (table.bytes_after != 0) | (table.kind != RowKind.MODULE)
        # A container or a dropout of an adapter that holds no tensor says nothing that its neighbours do not say.
        empty = ~held & (table.role >= Role.ADAPTER) & ~red
        if table.summary.get("single", False):
            plain = (table.kind != RowKind.MODULE) & ~red & self._covered_by_owner()
            shown = ~empty & ~plain
            unchanged = 0
        else:
            same = (table.status == Status.SAME) & ~red
            owner = np.maximum(table.parent, 0)
            told = (table.kind != RowKind.MODULE) & (table.status == table.status[owner]) & ~red
            told &= np.isin(table.status, (Status.ADDED, Status.REMOVED))
            told |= (table.status == Status.ADDED) & (table.status[owner] == Status.LEFTOVER) & self._covered_by_owner()
            shown = ~same & ~empty & ~told
            unchanged = int(np.count_nonzero(same & (table.kind == RowKind.MODULE)))
        return shown, unchanged, int(np.count_nonzero(empty & ~self._folded))

    def _covered_by_owner(self) -> npt.NDArray[np.bool_]:
        """Tensors of a module that has no child modules: the line of the module tells of them."""
        table = self._table
        modules = table.kind == RowKind.MODULE
        has_children = np.zeros(len(table), bool)
        has_children[table.parent[modules & (table.parent >= 0)]] = True
        return ~has_children[np.maximum(table.parent, 0)]

    def _members(self) -> npt.NDArray[np.bool_]:
        """Rows that the first member of a run stands for."""
        edges = np.zeros(len(self._table) + 1, np.int64)
        for run in self._runs.values():
            if not run.rows[0] <= self._root < self._end[run.rows[-1]]:
                edges[run.rows[1]] += 1
                edges[self._end[run.rows[-1]]] -= 1
        return np.asarray(np.cumsum(edges[:-1]) > 0)

    def _reaches(self, marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        running = np.concatenate([[0], np.cumsum(marked)])
        return np.asarray(running[self._end] > running[:-1])

    def _child_lists(self) -> dict[int, list[int]]:
        """Shown children of shown rows; a shown row whose parent is hidden hangs on the next shown one above."""
        children: dict[int, list[int]] = {}
        parent = self._table.parent
        anchors: dict[int, int] = {}
        inside = np.arange(self._root, self._end[self._root])
        for row in inside[self._shown[inside]].tolist()[1:]:
            above = int(parent[row])
            path = []
            while not self._shown[above] and above not in anchors:
                path.append(above)
                above = int(parent[above])
            above = anchors.get(above, above)
            anchors.update(dict.fromkeys(path, above))
            children.setdefault(above, []).append(row)
        return children

    def _within(self, limit: int) -> tuple[set[int], int]:
        """Rows for which there is room: breadth first, the ways to red rows before all others."""
        kept: set[int] = {self._root}
        total = 1 + sum(len(rows) for rows in self._children.values())
        for only_red in (True, False):
            level = [self._root]
            for _ in range(_MAX_DEPTH):
                following = []
                for row in level:
                    for child in self._children.get(row, ()):
                        if only_red and not self._red[child]:
                            continue
                        if len(kept) < limit:
                            kept.add(child)
                            following.append(child)
                level = following
        return kept, total - len(kept)

    def _node(self, row: int, kept: set[int]) -> Node:
        labels = [self._label(row)]
        children = self._children.get(row, [])
        while row != self._root and len(children) == 1 and children[0] in kept and self._joins(row, children[0]):
            row = children[0]
            labels.append(self._label(row))
            children = self._children.get(row, [])
        run = self._runs.get(row) if row != self._root else None
        node = Node(row, (*labels[:-1], run.label) if run else tuple(labels), run)
        node.children = [self._node(child, kept) for child in children if child in kept]
        node.cut = sum(child not in kept for child in children)
        return node

    def _joins(self, row: int, child: int) -> bool:
        """Whether a row says nothing of its own beside its only child."""
        table = self._table
        if row in self._runs:
            return False
        if not table.summary.get("single", False) and table.status[row] in (Status.SAME, Status.INSIDE):
            return True
        return bool(table.status[row] == table.status[child]) and self._alone(row, child)

    def _alone(self, row: int, child: int) -> bool:
        """Whether the child is all that the row holds."""
        table = self._table
        return bool(
            table.bytes_before[row] == table.bytes_before[child] and table.bytes_after[row] == table.bytes_after[child]
        )

    def _label(self, row: int) -> str:
        return str(self._table.strings[self._table.label[row]])
