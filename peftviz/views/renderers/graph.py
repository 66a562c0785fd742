"""A Graphviz picture of a part of the tree: of a diff the state before on the left, the state after on the right."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import graphviz
import numpy as np

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import Diff
from peftviz.core.nearby import nearby
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray
from peftviz.errors import LookupFailure, MissingDependencyError, PeftvizError, near_matches
from peftviz.views.escaping import dot_html, visible
from peftviz.views.formatting import format_bytes, plural
from peftviz.views.renderers.cells import Line, Lines
from peftviz.views.renderers.outline import Node, outline
from peftviz.views.viewmodel.table import RED, RowKind, Status, Trainable, ViewTable, view_table

MAX_NODES = 60
_TEXT_FORMATS, _DRAWN_FORMATS = ("dot", "gv"), ("svg", "png", "pdf")
_RED = "#b3192b"
_INK, _GREY = "#1c2733", "#5c6873"
_FONT, _CODE_FONT = "Helvetica,Arial,sans-serif", "Menlo,Consolas,DejaVu Sans Mono,monospace"
_LEAVING = (Status.REMOVED, Status.WRAPPED, Status.UNWRAPPED, Status.MOVED)
_TRAINABLE = {Trainable.NONE: "", Trainable.FROZEN: "frozen", Trainable.TRAINABLE: "trains", Trainable.PARTLY: ""}
_COLOURS = {
    Status.ADDED: ("#007a59", "#e2f4ee"),
    Status.REMOVED: ("#9a5b00", "#fdf0da"),
    Status.WRAPPED: ("#5f3dab", "#eee8f9"),
    Status.UNWRAPPED: ("#5f3dab", "#eee8f9"),
    Status.MOVED: ("#5f3dab", "#eee8f9"),
    Status.REPLACED: ("#a34400", "#fbe7dc"),
    Status.RETIED: ("#a34400", "#fbe7dc"),
    Status.CHANGED: ("#00588c", "#e0eff8"),
    Status.LEFTOVER: (_RED, "#fde3e6"),
    Status.FAULT: (_RED, "#fff4f5"),
}
_NAMES = {
    Status.ADDED: "added",
    Status.REMOVED: "removed",
    Status.MOVED: "moved",
    Status.REPLACED: "replaced",
    Status.CHANGED: "changed",
    Status.LEFTOVER: "red",
}
_LINE = "#c5ccd4"

PALETTE: Mapping[str, str] = {
    **{_COLOURS[status][0]: name for status, name in _NAMES.items()},
    **{_COLOURS[status][1]: f"{name}-ground" for status, name in _NAMES.items()},
    _COLOURS[Status.FAULT][1]: "red-ground",
    _INK: "ink",
    _GREY: "quiet",
    _LINE: "line",
    "white": "ground",
    "black": "ink",
}
"""Each colour that a picture has, and its name in the widget's themes."""


class Picture(graphviz.Digraph):  # type: ignore[misc]  # the graphviz package carries no types
    """A directed graph that says so when the `dot` program is missing, and then shows its source in a notebook."""

    def render(self, *args: Any, **options: Any) -> Any:
        """As in `graphviz.Digraph.render`.

        Raises:
            MissingDependencyError: The `dot` program is not installed; `.source` is there all the same.
        """
        try:
            return super().render(*args, **options)
        except graphviz.ExecutableNotFound as missing:
            raise _no_program() from missing
        except subprocess.CalledProcessError as error:
            raise _not_drawn() from error

    def pipe(self, *args: Any, **options: Any) -> Any:
        """As in `graphviz.Digraph.pipe`.

        Raises:
            MissingDependencyError: The `dot` program is not installed; `.source` is there all the same.
        """
        try:
            return super().pipe(*args, **options)
        except graphviz.ExecutableNotFound as missing:
            raise _no_program() from missing
        except subprocess.CalledProcessError as error:
            raise _not_drawn() from error

    def write(self, path: str | Path) -> Path:
        """Writes the picture in the format that the ending of the path names.

        Args:
            path: A file in a folder that exists; `.dot` and `.gv` get the DOT text, `.svg`, `.png` and `.pdf` what the
                `dot` program draws of it.

        Returns:
            The path.

        Raises:
            MissingDependencyError: The `dot` program is needed for the format and not installed.
            PeftvizError: The ending is none of these, or the file cannot be written.
        """
        path = Path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind not in (*_TEXT_FORMATS, *_DRAWN_FORMATS):
            known = [f".{known}" for known in (*_TEXT_FORMATS, *_DRAWN_FORMATS)]
            raise PeftvizError(
                f"A picture cannot be written as {path.suffix or 'a file without an ending'!r}.",
                where=str(path),
                hint=near_matches(path.suffix, known, limit=len(known)),
            )
        content = self.source.encode("utf-8") if kind in _TEXT_FORMATS else self.pipe(format=kind)
        try:
            path.write_bytes(content)
        except OSError as error:
            hint = "Give a path in a folder that exists and may be written."
            raise PeftvizError("The picture cannot be written.", where=str(path), hint=hint) from error
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        bundle = {"text/plain": self.source}
        try:
            bundle["image/svg+xml"] = self.pipe(format="svg", encoding="utf-8")
        except MissingDependencyError as missing:
            bundle["text/plain"] = f"{missing}\n\n{self.source}"
        return {kind: data for kind, data in bundle.items() if not include or kind in include}


def _not_drawn() -> PeftvizError:
    return PeftvizError(
        "The Graphviz program `dot` could not draw this picture.",
        where="peftviz.views.renderers.graph",
        hint="See what it says in the error above; `.source` has the DOT text.",
    )


def _no_program() -> MissingDependencyError:
    return MissingDependencyError(
        "The Graphviz program `dot` is needed to draw this picture and is not installed.",
        where="peftviz.views.renderers.graph",
        hint="Install Graphviz (https://graphviz.org/download/), or draw `.source`, the DOT text, elsewhere.",
    )


def graph(subject: Diff | Snapshot, path: str = "") -> Picture:
    """Draws what is at and below a module; of a diff what changed there.

    Args:
        subject: A diff or a snapshot.
        path: Path of the module, in the later snapshot or the earlier one; `""` for the whole model.

    Raises:
        LookupFailure: There is no module of that path.
    """
    if isinstance(subject, Snapshot):
        table = view_table(subject, audit=audit_snapshot(subject))
        return draw((subject,), table, _row((subject,), table, path))
    states = subject.before, subject.after
    table = view_table(subject, audit=audit_snapshot(subject.after))
    return draw(states, table, _row(states, table, path))


def draw(states: tuple[Snapshot, ...], table: ViewTable, root: int = 0, *, linked: bool = False) -> Picture:
    """Draws a part of a view table.

    Each state is one node with a line for each module, so that the picture stays as compact as the tree it shows;
    dashed arrows lead from the old place of a module to its new one.

    Args:
        states: The snapshot, or those before and after.
        table: Their view table.
        root: Row of the table to begin at.
        linked: Whether each line links to `row:N`, N being its row, for `peftviz.views.renderers.drawing`.
    """
    picture = Picture("diff" if len(states) > 1 else "snapshot", format="svg")
    picture.attr(rankdir="LR", bgcolor="white", ranksep="0.9", fontname=_FONT, fontsize="10", fontcolor=_GREY)
    picture.attr("node", shape="plain", fontname=_FONT, fontsize="11", fontcolor=_INK)
    picture.attr("edge", arrowsize="0.6", style="dashed")
    tree = outline(table, limit=MAX_NODES, root=root)
    nodes = list(tree.root.walk())
    lines = {node.row: line for node, line in zip(nodes, map(Lines(table).line, nodes), strict=True)}
    after = _Half(states[-1], table, table.after_row, nodes)
    halves = [(after, "after")]
    if len(states) > 1:
        halves.insert(0, (_Half(states[0], table, table.before_row, nodes), "before"))
    for half, side in halves:
        picture.node(side, label=f"<{_state(table, half, lines, side, linked=linked)}>")
    if len(states) > 1:
        _arrows(picture, table, halves[0][0], after)
    left_out = ((tree.unchanged, "unchanged module"), (tree.cut, "line"))
    said = " and ".join(plural(count, noun) for count, noun in left_out if count)
    if said:
        picture.attr(label=f"Not drawn: {said}", labelloc="b")
    return picture


def _arrows(picture: Picture, table: ViewTable, before: _Half, after: _Half) -> None:
    arrows = [place.node.row for place in after.places() if table.was[place.node.row] and before.has(place.node.row)]
    for row in arrows:
        colour = _COLOURS.get(Status(int(table.status[row])), (_GREY, ""))[0]
        picture.edge(f"before:e{row}:e", f"after:r{row}:w", color=colour)
    if not arrows:
        picture.edge("before", "after", style="solid", color=_GREY)


@dataclass(frozen=True)
class _Place:
    """A line of one state.

    Attributes:
        node: The node of the outline.
        name: Path from the line above it in this state.
        depth: Number of lines above.
    """

    node: Node
    name: str
    depth: int


class _Half:
    """The lines that exist in one of the two states, and the tree that they form there."""

    def __init__(self, snapshot: Snapshot, table: ViewTable, rows: IntArray, nodes: list[Node]) -> None:
        self.snapshot = snapshot
        self._table, self._rows = table, rows
        present = [node for node in nodes if rows[node.row] >= 0]
        self._shown = {int(rows[node.row]): node for node in present if table.kind[node.row] == RowKind.MODULE}
        self._places: dict[int, _Place] = {}
        for node in sorted(present, key=self._order):
            self._places[node.row] = self._place(node)

    def places(self) -> Iterator[_Place]:
        """The lines from top to bottom."""
        return iter(self._places.values())

    def has(self, row: int) -> bool:
        """Whether a row of the table has a line here."""
        return row in self._places

    def _order(self, node: Node) -> tuple[int, int]:
        own = int(self._rows[node.row])
        if self._table.kind[node.row] == RowKind.MODULE:
            return own, 0
        return int(self.snapshot.tensors.owner[own]), 1 + own

    def _place(self, node: Node) -> _Place:
        modules, tensors, names = self.snapshot.modules, self.snapshot.tensors, self.snapshot.names
        row = int(self._rows[node.row])
        parts: list[str] = []
        if self._table.kind[node.row] == RowKind.MODULE:
            if row:
                parts.append(node.run.label if node.run else names[modules.name[row]])
            row = int(modules.parent[row])
        else:
            parts.append(names[tensors.name[row]])
            row = int(tensors.owner[row])
        while row > 0 and row not in self._shown:
            parts.append(names[modules.name[row]])
            row = int(modules.parent[row])
        above = self._places.get(self._shown[row].row) if row in self._shown else None
        name = ".".join(visible(part) for part in reversed(parts)) or self.snapshot.root_class
        return _Place(node, name, above.depth + 1 if above else 0)


def _row(states: tuple[Snapshot, ...], table: ViewTable, path: str) -> int:
    sides = ((states[-1], table.after_row), (states[0], table.before_row))
    for snapshot, rows in sides:
        module = snapshot.find_module(path)
        if module is not None:
            return int(np.flatnonzero((rows == module) & (table.kind == RowKind.MODULE))[0])
    hints = [nearby(snapshot, path, tensors=False) for snapshot, _ in sides]
    single = len(states) == 1
    raise LookupFailure(
        f"{'The snapshot has no' if single else 'Neither snapshot of the diff has a'} module {path!r}.",
        where="Snapshot.graph(path)" if single else "Diff.graph(path)",
        hint=next((hint for hint in hints if "mean" in hint), hints[0]),
    )


def _state(table: ViewTable, half: _Half, lines: Mapping[int, Line], side: str, *, linked: bool) -> str:
    label = f" · {dot_html(half.snapshot.label)}" if half.snapshot.label else ""
    size = format_bytes(half.snapshot.totals.bytes)
    name = "now" if table.summary["single"] else side
    head = f'<font point-size="13"><b>{name}</b></font>{label} <font color="{_GREY}">{size}</font>'
    rows = "".join(_row_label(table, place, lines[place.node.row], side, linked=linked) for place in half.places())
    rows = rows or f'<tr><td colspan="4" align="left"><font color="{_GREY}">not there</font></td></tr>'
    return (
        f'<table border="1" color="{_LINE}" cellborder="0" cellspacing="0" cellpadding="4" style="rounded">'
        f'<tr><td colspan="4" align="left">{head}</td></tr><hr/>{rows}</table>'
    )


def _row_label(table: ViewTable, place: _Place, line: Line, side: str, *, linked: bool) -> str:
    row, status = place.node.row, line.status
    # On the left a row is what it was: marked is only what goes away or moves.
    marked = status in _LEAVING if side == "before" else status in _COLOURS and status is not Status.REMOVED
    ink, fill = _COLOURS[status] if marked else (_GREY, "white")
    strings = table.strings
    facts = [strings[getattr(table, f"{column}_{side}")[row]] for column in ("type", "shape", "dtype")]
    facts.append(_TRAINABLE[Trainable(int(getattr(table, f"trainable_{side}")[row]))])
    nbytes = float(getattr(table, f"bytes_{side}")[row])
    run = f" <i>{dot_html(line.run)}</i>" if line.run else ""
    note = f' <font color="{_GREY}">{dot_html(line.note)}</font>' if line.note and side == "after" else ""
    name = f'<font face="{_CODE_FONT}">{dot_html(place.name, 90)}</font>'
    if marked:
        name = f'<font color="{ink}"><b>{name}</b></font>' if status in RED else f"<b>{name}</b>"
    word = f'<font color="{ink}"><b>{dot_html(f"{line.symbol} {line.word}")}</b></font>' if marked else " "
    cells = (
        ("left", "&#160;" * (4 * place.depth) + name + run + note),
        ("left", word),
        ("left", f'<font color="{_GREY}">{dot_html(" · ".join(fact for fact in facts if fact)) or " "}</font>'),
        ("right", format_bytes(nbytes) if nbytes else " "),
    )
    ports = (f' port="r{row}"', "", "", f' port="e{row}"')
    link = f' href="row:{row}"' if linked else ""
    return (
        "<tr>"
        + "".join(
            f'<td align="{align}" bgcolor="{fill}"{port}{link}>{text}</td>'
            for (align, text), port in zip(cells, ports, strict=True)
        )
        + "</tr>"
    )
