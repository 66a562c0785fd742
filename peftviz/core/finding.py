"""A finding: one thing that an audit has to say about a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("error", "warning", "info")
"""From worst to mildest: wrong results or lost data; memory or drift; worth knowing."""

LEFT_OVER = "PV1"
"""How the codes of the rules begin that tell of what is left over."""


@dataclass(frozen=True)
class Finding:
    """One statement of a rule about one place of a model.

    Attributes:
        rule: Stable code such as `"PV101"`; `docs/rules/` has a page for each.
        severity: `"error"` (wrong results or lost data), `"warning"` (memory or drift) or `"info"`.
        path: Path of the module or tensor concerned, the first one when there are several alike; `""` is the model.
        adapter: The adapter concerned, or None.
        message: What is the matter, in a plain sentence.
        evidence: The facts behind it, as JSON values.
        remedy: What to do.
        repairable: Whether `peftviz.repair` can mend it.
        rows: Rows of `snapshot.modules` that are concerned, ascending; empty when the finding is about a tensor or
            about something that is no longer there. Takes no part in equality.
    """

    rule: str
    severity: str
    path: str
    adapter: str | None
    message: str
    evidence: Mapping[str, Any]
    remedy: str
    repairable: bool
    rows: tuple[int, ...] = field(default=(), compare=False, repr=False)
