"""What the widget asks for to see or to keep: pictures, and exports of the state on show."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from peftviz.core.audit import Audit
from peftviz.core.diff import Diff
from peftviz.core.snapshot import Snapshot
from peftviz.core.timeline import Timeline
from peftviz.errors import PeftvizError
from peftviz.views.inspector.page import to_html
from peftviz.views.inspector.steps import state_table
from peftviz.views.renderers.drawing import read_drawing
from peftviz.views.renderers.graph import Picture, draw
from peftviz.views.renderers.markdown import to_markdown
from peftviz.views.viewmodel.subjects import document
from peftviz.views.viewmodel.table import RowKind, ViewTable

PICTURES = ("dot", "svg", "png")


class Exports:
    """Draws and exports one state at a time; the table of the last one is kept, since a reader draws several parts."""

    def __init__(self) -> None:
        self._last: tuple[Any, ViewTable] | None = None

    def graph(self, subject: Any, timeline: Timeline | None, request: dict[str, Any]) -> dict[str, Any]:
        """The shapes of the picture of a part of the state on show.

        Args:
            subject: What the widget shows, or None for a state of the timeline.
            timeline: The timeline, if there is one.
            request: `index` and `base` of the state, and `row`, where the picture begins.

        Raises:
            MissingDependencyError: The `dot` program is not installed.
            PeftvizError: There is no such state or row, or nothing to draw.
        """
        picture = self._picture(subject, timeline, request, linked=True)
        return asdict(read_drawing(picture.pipe(format="svg", encoding="utf-8")))

    def file(
        self, subject: Any, timeline: Timeline | None, request: dict[str, Any]
    ) -> tuple[dict[str, Any], list[bytes]]:
        """A file of the state on show, or of the part that begins at `row` for pictures.

        Args:
            subject: As for `graph`.
            timeline: As for `graph`.
            request: As for `graph`, and `as`: `"markdown"`, `"html"`, `"dot"`, `"svg"` or `"png"`.

        Returns:
            `name` of the file, and its bytes.
        """
        wanted = request.get("as")
        if wanted in PICTURES:
            picture = self._picture(subject, timeline, request, linked=False)
            content = picture.source.encode() if wanted == "dot" else picture.pipe(format=wanted)
            return {"name": f"peftviz.{wanted}"}, [content]
        shown = self._shown(subject, timeline, request)
        if wanted == "markdown":
            return {"name": "peftviz.md"}, [to_markdown(shown).encode()]
        if wanted == "html":
            return {"name": "peftviz.html"}, [to_html(timeline if subject is None else subject).encode()]
        raise PeftvizError(f"The widget does not know the export {wanted!r}.", where="widget")

    def _picture(self, subject: Any, timeline: Timeline | None, request: dict[str, Any], *, linked: bool) -> Picture:
        states, key = _states(self._shown(subject, timeline, request))
        if self._last is None or self._last[0] is not key:
            self._last = key, _table(subject, timeline, request)
        table = self._last[1]
        row = request.get("row")
        if type(row) is not int or not 0 <= row < len(table):
            raise PeftvizError(f"The state has no row {row!r}.", where="widget", hint="Select a row of the tree.")
        if table.kind[row] != RowKind.MODULE:
            row = int(table.parent[row])
        return draw(states, table, row, linked=linked)

    def _shown(self, subject: Any, timeline: Timeline | None, request: dict[str, Any]) -> Any:
        if subject is not None:
            return subject
        index, base = request.get("index"), request.get("base")
        if timeline is None or type(index) is not int or type(base) is not int:
            raise PeftvizError(
                "There is no state to draw.", where="widget", hint="Show a snapshot, a diff or a session."
            )
        diff = timeline.diff(base, index)  # complains about a state that does not exist
        if index == 0:
            return timeline.baseline
        step = timeline[index - 1]
        return step if base == index - 1 else diff


def _states(shown: Any) -> tuple[tuple[Snapshot, ...], Any]:
    """The snapshots of a state on show, and what tells it from another."""
    if isinstance(shown, Snapshot):
        return (shown,), shown
    if isinstance(shown, Audit):
        if shown.baseline is None:
            return (shown.snapshot,), shown
        return (shown.baseline, shown.snapshot), shown
    diff = shown if isinstance(shown, Diff) else getattr(shown, "diff", None)
    if isinstance(diff, Diff):
        return (diff.before, diff.after), diff
    raise PeftvizError(
        f"There is no picture of an object of type {type(shown).__name__}.",
        where="widget",
        hint="Snapshots, diffs, audits, steps and reports have one.",
    )


def _table(subject: Any, timeline: Timeline | None, request: dict[str, Any]) -> ViewTable:
    """The table that the browser has of the state, so that its rows mean the same here."""
    if subject is None and timeline is not None:
        return state_table(timeline, request["index"], request["base"])
    table = document(subject).table
    if table is None:
        raise PeftvizError("There is nothing to draw.", where="widget")
    return table
