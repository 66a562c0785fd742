"""The live widget. The tree lives in the browser; the kernel sends states and does what the buttons ask for."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from peftviz.core.finding import Finding
from peftviz.core.timeline import Timeline
from peftviz.errors import MissingDependencyError, PeftvizError
from peftviz.views.assets import BUNDLE, style_sheet
from peftviz.views.formatting import plural
from peftviz.views.language import catalogs, tell
from peftviz.views.mime import WIDGET
from peftviz.views.static_html import static_html
from peftviz.views.steps import state_table, step_entries
from peftviz.views.subjects import document
from peftviz.views.text import to_text
from peftviz.views.wire import encode

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

Actions = Mapping[str, Callable[..., Any]]


class Inspector(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """A live view of a snapshot, a diff, an audit, a report or a timeline.

    Args:
        subject: What to show: any object that peftviz shows, but no model: `peftviz.capture(model)` gives a snapshot,
            `peftviz.watch(model)` a session with actions.
        timeline: Steps that the reader can jump between; without a subject the last one is shown.
        actions: What the buttons do, as plain callables: `plan(adapter)`, `delete(adapter)`, `repair()`, `capture()`.

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
        self._plans: dict[int, tuple[str, Callable[[], Any], int]] = {}
        self._tokens = 0
        self._entries: list[dict[str, Any]] = []
        state = self._state()
        super().__init__(**state, _offers=sorted(self._actions), _style=style_sheet(), _texts=catalogs())
        tell(self)
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

    def language_changed(self) -> None:
        """Takes the texts of the language that was chosen last."""
        self._texts = catalogs()

    def _push(self) -> None:
        with self.hold_sync():
            for name, value in self._state().items():
                setattr(self, name, value)

    def _state(self) -> dict[str, Any]:
        """The synced traits for the present subject."""
        timeline = self._timeline
        if self._subject is None and timeline is not None:
            index = len(timeline)
            steps = self._step_entries(timeline)
            base = max(0, index - 1)
            shown = self._view(steps, index, base)
            return {"_table": encode(state_table(timeline, index, base)), "_shown": shown, "_steps": steps}
        if self._subject is None:
            raise PeftvizError(
                "There is nothing to show.", where="Inspector()", hint="Inspector(peftviz.capture(model))"
            )
        page = document(self._subject)
        shown = {"index": 0, "base": 0, "title": page.title, "lines": list(page.lines[1:_MAX_NOTICE])}
        table = b"" if page.table is None else encode(page.table)
        return {"_table": table, "_shown": shown, "_steps": []}

    def _step_entries(self, timeline: Timeline) -> list[dict[str, Any]]:
        if len(self._entries) != len(timeline) + 1:
            self._entries = step_entries(timeline)
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
        if kind == "plan":
            return self._plan(request), []
        if kind == "apply":
            return self._apply(request.get("token")), []
        if kind == "capture":
            self._action("capture")()
            self.refresh()
            return {}, []
        raise PeftvizError(f"The widget does not know the request {kind!r}.", where="widget")

    def _send_state(self, index: Any, base: Any) -> tuple[dict[str, Any], list[bytes]]:
        if self._timeline is None or type(index) is not int or type(base) is not int:
            raise PeftvizError("There is no timeline to jump in.", where="widget")
        table = state_table(self._timeline, index, base)
        return {"view": self._view(self._step_entries(self._timeline), index, base)}, [encode(table)]

    def _plan(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("do") == "repair":
            repair = self._action("repair")
            name, act, lines = "", repair, self._repair_lines()
        else:
            name = str(request.get("adapter"))
            lines = _lines(self._action("plan")(name))
            delete = self._action("delete")
            act = lambda: delete(name)  # noqa: E731 - a def here would need a name for a thing used once
        self._tokens += 1
        # A plan can be carried out once, and only in the state that it was made for.
        self._plans = {self._tokens: (name, act, self._length())}
        return {"token": self._tokens, "lines": lines}

    def _apply(self, token: Any) -> dict[str, Any]:
        name, act, length = self._plans.pop(token, ("", None, -1))
        if act is None:
            raise PeftvizError(
                "This plan was carried out already, or another one has replaced it.",
                where="plan in the widget",
                hint="Ask for a new plan.",
            )
        if length != self._length():
            raise PeftvizError(
                "The model has changed since this plan was made.",
                where="plan in the widget",
                hint="Ask for a new plan.",
            )
        report = act()
        self.refresh()
        lines = _lines(report)
        audit = getattr(report, "audit", None)
        if audit is not None and name:
            left = sum(1 for finding in audit if finding.adapter == name)
            lines.append(
                f"◆ still named {name!r}: {plural(left, 'finding')}" if left else f"✓ no trace of {name!r} is left"
            )
        held = len(getattr(getattr(report, "freed", None), "alive", ()))
        return {"lines": lines, "held": held}

    def _repair_lines(self) -> list[str]:
        findings = [finding for finding in self._findings() if finding.repairable]
        return [
            f"{finding.rule} {finding.path or '(model)'}: {finding.message}\n    → {finding.remedy}"
            for finding in findings
        ] or ["There is nothing to mend."]

    def _findings(self) -> tuple[Finding, ...]:
        if self._timeline is not None and len(self._timeline):
            return self._timeline[-1].findings
        return ()

    def _length(self) -> int:
        return 0 if self._timeline is None else len(self._timeline)

    def _action(self, name: str) -> Callable[..., Any]:
        if name not in self._actions:
            raise PeftvizError(
                f"This widget cannot {name}.", where="widget", hint="session = peftviz.watch(model) shows one that can."
            )
        return self._actions[name]

    # How it shows -----------------------------------------------------------------------------------------------------

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


def _lines(told: Any) -> list[str]:
    """A plan or a report as lines."""
    lines = getattr(told, "lines", None)
    return [str(line) for line in (lines() if callable(lines) else str(told).splitlines())]


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
