"""What a rule is: a code, a meaning, and one pure function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from peftviz.core.finding import Finding
from peftviz.core.rules.facts import Facts


@dataclass(frozen=True)
class Rule:
    """One rule of the audit.

    Attributes:
        code: Stable code; never reused for another meaning.
        title: A few words for a heading.
        severity: The severity of its findings, unless a finding says otherwise.
        meaning: One line on what a finding of it means.
        remedy: What to do about a finding of it.
        repairable: Whether `peftviz.repair` can mend its findings, unless a finding says otherwise.
        needs: What it is silent without: `"baseline"`, `"optimizer"` or None.
        check: The rule itself, from facts to findings.
        upstream: Where it is reported, as in `"peft#2381"`: a project of Hugging Face, an issue or pull request of it.
    """

    code: str
    title: str
    severity: str
    meaning: str
    remedy: str
    repairable: bool
    check: Callable[[Rule, Facts], Iterable[Finding]]
    needs: str | None = None
    upstream: tuple[str, ...] = ()

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """Name and address of each entry of `upstream`."""
        split = [(name, *name.split("#")) for name in self.upstream]
        return tuple(
            (name, f"https://github.com/huggingface/{project}/issues/{number}") for name, project, number in split
        )

    def finding(
        self,
        path: str,
        message: str,
        evidence: Mapping[str, Any],
        *,
        adapter: str | None = None,
        severity: str | None = None,
        remedy: str | None = None,
        repairable: bool | None = None,
        rows: Iterable[int] = (),
    ) -> Finding:
        """A finding of this rule; what is not given is the rule's own."""
        return Finding(
            rule=self.code,
            severity=severity or self.severity,
            path=path,
            adapter=adapter,
            message=message,
            evidence=dict(evidence),
            remedy=remedy or self.remedy,
            repairable=self.repairable if repairable is None else repairable,
            rows=tuple(int(row) for row in rows),
        )
