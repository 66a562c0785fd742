"""The live widget. The tree lives in the browser; the kernel sends states and does what the buttons ask for."""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from peftviz.core.snapshot import Snapshot
from peftviz.core.timeline import Timeline
from peftviz.errors import MissingDependencyError, PeftvizError
from peftviz.views.inspector.assets import BUNDLE, style_sheet
from peftviz.views.inspector.exports import Exports
from peftviz.views.inspector.language import add_listener, catalogs
from peftviz.views.inspector.page import to_html
from peftviz.views.inspector.plans import Actions, Plans
from peftviz.views.inspector.selection import Selection
from peftviz.views.inspector.steps import state_table, step_entries, step_entry
from peftviz.views.inspector.wire import encode
from peftviz.views.mime import WIDGET
from peftviz.views.renderers.static_html import static_html
from peftviz.views.renderers.text import to_text
from peftviz.views.viewmodel.subjects import document, states
from peftviz.views.viewmodel.table import ViewTable

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise MissingDependencyError(
        "The widget needs the package 'anywidget'.",
        where="peftviz.Inspector",
        hint="pip install anywidget; .to_html(path) and .to_text() work without it.",
    ) from error

_MAX_NOTICE = 40


class Inspector(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """A live view of a snapshot, a diff, an audit, a report or a timeline.

    Args:
        subject: What to show: any object that peftviz shows, but no model: `peftviz.capture(model)` gives a snapshot,
            `peftviz.watch(model)` a session with actions.
        timeline: Steps that the reader can jump between; without a subject the last one is shown.
        actions: What the buttons do, as plain callables: `plan(adapter)`, `delete(adapter)`, `repair()`, `capture()`,
            and those of `peftviz.views.inspector.plans.OPERATIONS`, each with a list of adapters, which
            `plan_operation(operation, adapters)` plans.

    Raises:
        PeftvizError: The subject is nothing that peftviz shows.
    """

    _esm = BUNDLE
    # Names with an underscore: a trait named like an attribute of Widget would stop the comm without a word.
    _style = traitlets.Unicode("").tag(sync=True)
    _texts = traitlets.Dict({}).tag(sync=True)
    _table = traitlets.Bytes(b"").tag(sync=True)
    _shown = traitlets.Dict({}).tag(sync=True)
    _steps: Any = traitlets.List([]).tag(sync=True)
    _offers: Any = traitlets.List([]).tag(sync=True)
    # Number of the state that all others are compared with; -1 for the step before. Set on both sides.
    _baseline: Any = traitlets.Int(-1).tag(sync=True)
    # What is selected: `paths` in the comparison of `index` with `base`. Set by the browser, or by `select`.
    _selection = traitlets.Dict({}).tag(sync=True)
    # What `select` asks for: `paths`, and `turn`, which counts the calls.
    _wanted = traitlets.Dict({}).tag(sync=True)

    def __init__(
        self, subject: Any = None, *, timeline: Timeline | None = None, actions: Actions | None = None
    ) -> None:
        if timeline is None and isinstance(subject, Timeline):
            subject, timeline = None, subject
        held = getattr(subject, "timeline", None)
        if timeline is None and isinstance(held, Timeline):
            subject, timeline = None, held
        self._timeline = timeline
        self._actions: Actions = dict(actions or {})
        self._subject = subject
        self._plans = Plans(self._actions, timeline)
        self._exports = Exports()
        self._entries: list[dict[str, Any]] = []
        state = self._state()
        super().__init__(**state, _offers=sorted(self._actions), _style=style_sheet(), _texts=catalogs())
        add_listener(self)
        self.on_msg(self._receive)

    def show(self, subject: Any) -> None:
        """Shows another subject."""
        self._subject = subject
        self._push()

    def refresh(self) -> None:
        """Shows the last step, after the timeline has grown."""
        if self._timeline is not None:
            self._subject = None
        self._push()

    def compare(self, before: int = 0, after: int = -1) -> None:
        """Shows any two states of the timeline compared.

        Args:
            before: Number of a state; 0 is the one that the timeline begins with.
            after: Number of a state; negative numbers count from the last.

        Raises:
            PeftvizError: There is no timeline.
            LookupFailure: There is no such state.
        """
        timeline = self._need_timeline("inspector.compare(before, after)")
        timeline.diff(before, after)
        count = len(timeline) + 1
        self._subject = None
        self._push(after % count, before % count)

    @property
    def baseline(self) -> int | None:
        """Number of the state that every state is compared with; None for the step before each.

        Setting it shows the last state compared with it. The reader can set it in the widget, too.

        Raises:
            PeftvizError: On setting: there is no timeline.
            LookupFailure: On setting: there is no such state.
        """
        return None if self._baseline < 0 else int(self._baseline)

    @baseline.setter
    def baseline(self, index: int | None) -> None:
        timeline = self._need_timeline("inspector.baseline")
        if index is not None:
            timeline.diff(index, -1)
            index %= len(timeline) + 1
        self._baseline = -1 if index is None else index
        self.refresh()

    @property
    def selection(self) -> Selection:
        """What is selected in the widget: `paths`, and `to_frame()` with what is seen of each."""
        chosen = self._selection
        paths = [path for path in chosen.get("paths", ()) if isinstance(path, str)]
        return Selection(paths, partial(self._selected_table, chosen.get("index"), chosen.get("base")))

    def select(self, paths: str | Iterable[str]) -> None:
        """Selects rows and brings them to light in the widget, whatever is folded or filtered.

        Args:
            paths: Dotted path of a module, parameter or buffer in either of the states on show, or several of them;
                `""` is the model. The details are about the first. No path at all selects nothing.

        Raises:
            LookupFailure: Neither state has one of them; near matches are named, and nothing is selected.
        """
        wanted = [paths] if isinstance(paths, str) else list(paths)
        index, base = self._selection.get("index"), self._selection.get("base")
        before, after = self._states(index, base)
        for path in wanted:
            if not any(
                state.find_module(path) is not None or state.find_tensor(path) is not None for state in (before, after)
            ):
                after.module(path)  # raises, and names what is near
        self._selection = {**self._selection, "paths": wanted}
        self._wanted = {"paths": wanted, "turn": self._wanted.get("turn", 0) + 1}

    def _states(self, index: Any, base: Any) -> tuple[Snapshot, Snapshot]:
        """The states on show, before and after; by default those shown last."""
        if self._timeline is None or self._subject is not None:
            return states(self._subject)
        snapshots = self._timeline.snapshots
        shown = [
            self._shown[name] if type(told) is not int else told for name, told in (("base", base), ("index", index))
        ]
        return snapshots[min(shown[0], len(snapshots) - 1)], snapshots[min(shown[1], len(snapshots) - 1)]

    def _selected_table(self, index: Any, base: Any) -> ViewTable:
        if self._timeline is not None and self._subject is None:
            shown = self._shown
            return state_table(
                self._timeline,
                index if type(index) is int else shown["index"],
                base if type(base) is int else shown["base"],
            )
        table = document(self._subject).table
        assert table is not None, "what has no table has nothing to select"
        return table

    def _need_timeline(self, where: str) -> Timeline:
        if self._timeline is None:
            raise PeftvizError(
                "This inspector shows no timeline.", where=where, hint="session.inspector and Inspector(timeline) do."
            )
        return self._timeline

    def language_changed(self) -> None:
        """Takes the texts of the language that was chosen last."""
        self._texts = catalogs()

    def _push(self, index: int | None = None, base: int | None = None) -> None:
        state = self._state(index, base)
        # Counted, so that a reader who has gone elsewhere meanwhile is shown it, too.
        state["_shown"]["turn"] = self._shown.get("turn", 0) + 1
        with self.hold_sync():
            for name, value in state.items():
                setattr(self, name, value)

    def _state(self, index: int | None = None, base: int | None = None) -> dict[str, Any]:
        """The synced traits for the present subject; of a timeline for a state and the one it is compared with."""
        timeline = self._timeline
        if self._subject is None and timeline is not None:
            index = len(timeline) if index is None else index
            if base is None:
                base = max(0, index - 1) if self.baseline is None else self.baseline
            table = encode(state_table(timeline, index, base))  # first: what it looks at, the steps can tell
            steps = self._step_entries(timeline)
            return {"_table": table, "_shown": self._view(steps, index, base), "_steps": steps}
        if self._subject is None:
            raise PeftvizError(
                "There is nothing to show.", where="Inspector()", hint="Inspector(peftviz.capture(model))"
            )
        page = document(self._subject)
        shown = {"index": 0, "base": 0, "title": page.title, "lines": list(page.lines[1:_MAX_NOTICE])}
        table = b"" if page.table is None else encode(page.table)
        return {"_table": table, "_shown": shown, "_steps": []}

    def _step_entries(self, timeline: Timeline) -> list[dict[str, Any]]:
        known = [entry for entry in self._entries if entry["counts"] is not None]
        if len(known) != len(timeline) + 1:
            self._entries = step_entries(timeline, look=False)
        return list(self._entries)

    @staticmethod
    def _view(steps: list[dict[str, Any]], index: int, base: int) -> dict[str, Any]:
        return {"index": index, "base": base, "title": steps[index]["label"], "lines": []}

    # Requests from the browser ----------------------------------------------------------------------------------------

    def _receive(self, _: Any, content: Any, buffers: Any) -> None:
        if not isinstance(content, dict) or not isinstance(content.get("id"), str):
            return
        try:
            answer, sent = self._answer(content)
        except BaseException as error:  # the reader waits for an answer, an interrupt included
            self.send({"id": content["id"], "error": _failure(error)})
            if not isinstance(error, Exception):
                raise
            return
        self.send({"id": content["id"], **answer}, sent)

    def _answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        kind = request.get("ask")
        if kind == "state":
            return self._send_state(request.get("index"), request.get("base"))
        if kind == "step":
            return {"step": self._look_at(request.get("index"))}, []
        if kind == "plan":
            return self._plans.make(request), []
        if kind == "apply":
            done = self._plans.carry_out(request.get("token"))
            self.refresh()
            return done, []
        if kind == "capture":
            self._plans.action("capture")()
            self.refresh()
            return {}, []
        if kind == "graph":
            return self._exports.graph(self._subject, self._timeline, request), []
        if kind == "export":
            return self._exports.file(self._subject, self._timeline, request)
        raise PeftvizError(f"The widget does not know the request {kind!r}.", where="widget")

    def _send_state(self, index: Any, base: Any) -> tuple[dict[str, Any], list[bytes]]:
        if self._timeline is None or type(index) is not int or type(base) is not int:
            raise PeftvizError("There is no timeline to jump in.", where="widget")
        table = state_table(self._timeline, index, base)
        return {"view": self._view(self._step_entries(self._timeline), index, base)}, [encode(table)]

    def _look_at(self, index: Any) -> dict[str, Any]:
        """The entry of a step, compared and judged if that was not done yet."""
        timeline = self._timeline
        if timeline is None or type(index) is not int or not 0 < index <= len(timeline):
            raise PeftvizError("There is no such step.", where="widget")
        return step_entry(timeline[index - 1])

    # How it shows -----------------------------------------------------------------------------------------------------

    def to_html(self, path: str | Path | None = None) -> str:
        """One self-contained page of what is shown, as of any object; also written to `path` when one is given.

        Raises:
            PeftvizError: The file cannot be written.
        """
        return to_html(self._timeline if self._subject is None else self._subject, path)

    def _repr_mimebundle_(  # type: ignore[override]  # anywidget's takes any keyword and returns what IPython accepts
        self, include: Container[str] | None = None, exclude: Container[str] | None = None, **_: Any
    ) -> dict[str, Any]:
        subject = self._timeline if self._subject is None else self._subject
        bundle: dict[str, Any] = {}
        for kind, make in (("text/plain", to_text), ("text/html", static_html)):
            if (not include or kind in include) and (not exclude or kind not in exclude):
                bundle[kind] = make(subject)
        if self._table:
            bundle[WIDGET] = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return bundle

    def __repr__(self) -> str:
        return f"Inspector({self._shown.get('title', '')!r})"


def _failure(error: BaseException) -> dict[str, str]:
    if isinstance(error, PeftvizError):
        return {"what": error.what, "where": error.where, "hint": error.hint}
    if isinstance(error, KeyboardInterrupt):
        return {"what": "It was interrupted.", "where": "", "hint": "The model was rolled back to the state before."}
    return {
        "what": f"{type(error).__name__}: {error}",
        "where": "",
        "hint": "Call it in a cell to see the whole traceback.",
    }
