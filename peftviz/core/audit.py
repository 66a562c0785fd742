"""The audit: what is wrong with a model, judged from a snapshot alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from peftviz.core.display import Displayed, dataframes
from peftviz.core.finding import LEFT_OVER, SEVERITIES, Finding
from peftviz.core.rules import RULES, Facts, Rule
from peftviz.core.rules.history import UNKNOWN, History
from peftviz.core.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

    from peftviz.core.rows import OptimizerRow
    from peftviz.core.timeline import Step

__all__ = ["Audit", "Finding", "audit_snapshot", "audit_step", "with_optimizers"]


class Audit(Displayed, Sequence[Finding]):
    """The findings of an audit, worst first; a sequence.

    Attributes:
        findings: All of them.
        snapshot: The state that was judged.
        baseline: The earlier state it was compared with, or None.
    """

    def __init__(self, findings: Iterable[Finding], snapshot: Snapshot, baseline: Snapshot | None = None) -> None:
        self.findings = tuple(findings)
        self.snapshot = snapshot
        self.baseline = baseline

    @property
    def clean(self) -> bool:
        """Whether there is no error and no warning; an info is no fault."""
        return all(finding.severity == "info" for finding in self.findings)

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of findings by severity, in the order `error`, `warning`, `info`."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    def of(self, rule: str) -> tuple[Finding, ...]:
        """The findings of one rule, by its code."""
        return tuple(finding for finding in self.findings if finding.rule == rule)

    @overload
    def __getitem__(self, index: int) -> Finding: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...

    def __getitem__(self, index: int | slice) -> Finding | tuple[Finding, ...]:
        return self.findings[index]

    def __len__(self) -> int:
        return len(self.findings)

    def __eq__(self, other: object) -> bool:
        return self.findings == other.findings if isinstance(other, Audit) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # findings hold dictionaries

    def to_frame(self) -> pd.DataFrame:
        """The findings as a DataFrame, one row each.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        frame: pd.DataFrame = dataframes().audit_frame(self)
        return frame

    def __repr__(self) -> str:
        words = [f"{count} {severity}{'s' * (count != 1)}" for severity, count in self.counts.items() if count]
        return f"Audit({', '.join(words) if words else 'clean'})"


def audit_snapshot(
    snapshot: Snapshot,
    *,
    baseline: Snapshot | None = None,
    history: Sequence[Step] = (),
) -> Audit:
    """Judges a snapshot by all rules; pure, and needs neither torch nor peft.

    Args:
        snapshot: The state to judge.
        baseline: An earlier state of the same model, such as the one before any adapter. The rules that compare
            (`PV3xx`) are silent without one.
        history: The steps that led to the state, oldest first. With them findings name the steps that caused them.

    Returns:
        The findings, errors first, then in the order of the rules and of the tree.
    """
    facts = Facts(snapshot, baseline, history)
    rules = (rule for rule in RULES if rule.needs is None or (rule.needs == "baseline" and baseline is not None))
    return _judged(facts, rules)


def with_optimizers(found: Audit, optimizers: Sequence[OptimizerRow], *, history: Sequence[Step] = ()) -> Audit:
    """Adds what is to be said about the optimizers that train a model.

    Args:
        found: The audit of the model.
        optimizers: Its optimizers, read in the process that took the snapshot.
        history: The steps that led to the state, oldest first; they tell where parameters that are gone have been.
    """
    facts = Facts(found.snapshot, found.baseline, history, optimizers)
    return _judged(facts, (rule for rule in RULES if rule.needs == "optimizer"), found)


def _judged(facts: Facts, rules: Iterable[Rule], found: Iterable[Finding] = ()) -> Audit:
    """The findings of some rules beside those found before, worst first."""
    findings = [*found, *(finding for rule in rules for finding in rule.check(rule, facts))]
    return Audit(
        sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)), facts.snapshot, facts.baseline
    )


def audit_step(step: Step) -> Audit:
    """Judges the state after a step, and names in `evidence["since"]` of each finding the step it first came with.

    A finding that tells its steps itself keeps that. What is left over (`PV1xx`) also names in `evidence["came_with"]`
    the step that put it into the model, where a recorded one did. The steps before are judged first, each once.
    """
    waiting = [step]
    while (before := waiting[-1].previous) is not None and "audit" not in vars(before):
        waiting.append(before)
    for earlier in reversed(waiting[1:]):
        vars(earlier)["audit"] = _audit_after(earlier)  # in order, and not by recursion: a session may have many steps
    return _audit_after(step)


def _audit_after(step: Step) -> Audit:
    history = History(step.history)
    earlier = (
        audit_snapshot(step.before, baseline=step.baseline) if step.previous is None else step.previous.audit
    ).findings
    known = {key: finding.evidence for finding in earlier for key in _keys(finding)}
    this = history.name(len(history) - 1)
    found = []
    for finding in audit_snapshot(step.after, baseline=step.baseline, history=history.steps):
        before = next((known[key] for key in _keys(finding) if key in known), None)
        told: dict[str, Any] = {"came_with": _origin(finding, history) if before is None else before.get("came_with")}
        if "steps" not in finding.evidence:
            told["since"] = this if before is None else before.get("since")
        more = {key: value for key, value in told.items() if value is not None}
        found.append(replace(finding, evidence={**finding.evidence, **more}) if more else finding)
    return Audit(found, step.after, step.baseline)


def _origin(finding: Finding, history: History) -> dict[str, Any] | None:
    """The step that put into the model what is left over now."""
    if not (finding.rule.startswith(LEFT_OVER) and finding.rows):
        return None
    step = history.came_with(finding.rows[0])
    return None if step == UNKNOWN else history.name(step)


def _keys(finding: Finding) -> tuple[tuple[str, str | None, str], ...]:
    """What a finding has in common with itself a step later: its place, or its words where wrapping moved the place."""
    return tuple((finding.rule, finding.adapter, text) for text in (finding.path, finding.message))
