"""What the widget's buttons do: a plan is made, shown, and carried out once, in the state that it was made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peftviz.core.finding import Finding
from peftviz.core.timeline import Timeline
from peftviz.errors import PeftvizError
from peftviz.views.formatting import plural
from peftviz.views.inspector.wording import Line, as_sent, lines_of

Actions = Mapping[str, Callable[..., Any]]

OPERATIONS = (
    "set_adapter",
    "enable_adapters",
    "disable_adapters",
    "merge_adapter",
    "unmerge_adapter",
    "unload",
    "merge_and_unload",
)
"""Actions that take a list of adapters and are planned by the action `plan_operation`."""
_MAX_NAMES = 1_000


@dataclass(frozen=True)
class _Plan:
    """A plan that waits for its confirmation.

    Attributes:
        act: Carries it out.
        steps: Length of the timeline that it was made for.
        gone: Adapter of which nothing should be left afterwards, or `""`.
    """

    act: Callable[[], Any]
    steps: int
    gone: str = ""


class Plans:
    """The plans of one widget: the last one made can be carried out, once."""

    def __init__(self, actions: Actions, timeline: Timeline | None) -> None:
        self._actions = actions
        self._timeline = timeline
        self._token = 0
        self._waiting: _Plan | None = None

    def make(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Plans what is asked for; touches nothing.

        Returns:
            `token`, with which it can be carried out, `lines`, what it says, and `said`, which text of the message
            files says the same as each line.

        Raises:
            PeftvizError: The widget offers no such action, or what is asked for cannot be done.
        """
        self._waiting = None
        plan, lines = self._plan(request)
        self._waiting = plan
        self._token += 1
        return {"token": self._token, **as_sent(lines)}

    def carry_out(self, token: Any) -> dict[str, Any]:
        """Carries out the plan with that token.

        Returns:
            `lines` of the report, `said` as of a plan, and `held`: how many tensors that should be gone are still held.

        Raises:
            PeftvizError: It was carried out already, another plan replaced it, or the model has changed since.
        """
        plan, self._waiting = self._waiting, None
        if plan is None or type(token) is not int or token != self._token:
            raise PeftvizError(
                "This plan was carried out already, or another one has replaced it.",
                where="plan in the widget",
                hint="Ask for a new plan.",
            )
        if plan.steps != self._steps():
            raise PeftvizError(
                "The model has changed since this plan was made.",
                where="plan in the widget",
                hint="Ask for a new plan.",
            )
        report = plan.act()
        lines = _lines(report)
        audit = getattr(report, "audit", None)
        if audit is not None and plan.gone:
            left = sum(1 for finding in audit if finding.adapter == plan.gone)
            found = f"◆ still named {plan.gone!r}: {plural(left, 'finding')}"
            lines.append(Line(found if left else f"✓ no trace of {plan.gone!r} is left"))
        return {**as_sent(lines), "held": len(getattr(getattr(report, "freed", None), "alive", ()))}

    def action(self, name: str) -> Callable[..., Any]:
        """The action of that name.

        Raises:
            PeftvizError: The widget does not offer it.
        """
        if name not in self._actions:
            raise PeftvizError(
                f"This widget cannot {name}.", where="widget", hint="session = peftviz.watch(model) shows one that can."
            )
        return self._actions[name]

    def _plan(self, request: Mapping[str, Any]) -> tuple[_Plan, list[Line]]:
        wanted, steps = request.get("do"), self._steps()
        if wanted == "repair":
            return _Plan(self.action("repair"), steps), self._repair_lines()
        if wanted in OPERATIONS:
            operation, names = str(wanted), _names(request.get("adapters"))
            act = self.action(operation)
            lines = _lines(self.action("plan_operation")(operation, names))
            return _Plan(lambda: act(names), steps), lines
        name = str(request.get("adapter"))
        lines = _lines(self.action("plan")(name))
        delete = self.action("delete")
        return _Plan(lambda: delete(name), steps, name), lines

    def _repair_lines(self) -> list[Line]:
        found = []
        for finding in self._findings():
            if finding.repairable:
                place = f"{finding.rule} {finding.path or '(model)'}: "
                found.append(Line(finding.message, place, f"finding.{finding.rule}."))
                found.append(Line(finding.remedy, "    → ", f"remedy.{finding.rule}."))
        return found or [Line("There is nothing to mend.")]

    def _findings(self) -> Sequence[Finding]:
        return self._timeline[-1].findings if self._timeline is not None and len(self._timeline) else ()

    def _steps(self) -> int:
        return 0 if self._timeline is None else len(self._timeline)


def _lines(about: Any) -> list[Line]:
    """A plan or a report as lines."""
    lines = getattr(about, "lines", None)
    return lines_of(str(line) for line in (lines() if callable(lines) else str(about).splitlines()))


def _names(value: Any) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > _MAX_NAMES or not all(isinstance(name, str) for name in value):
        raise PeftvizError("The widget did not name the adapters.", where="widget", hint="Reload the page.")
    return value
