"""Tensors that should be one and are not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rules.base import elements, matched_parameters
from peftviz.core.rules.facts import Facts
from peftviz.core.rules.rule import Rule


def lost_ties(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV303: tensors of the base that were one at the baseline are not one any more."""
    if facts.baseline is None:
        return
    rows, source = matched_parameters(facts)
    earlier = facts.baseline.tensors
    order = np.argsort(earlier.storage[source], kind="stable")
    rows, source = rows[order], source[order]
    storage_then, storage_now = earlier.storage[source], facts.snapshot.tensors.storage[rows]
    parted = np.flatnonzero((storage_then[1:] == storage_then[:-1]) & (storage_now[1:] != storage_now[:-1]))
    for storage in np.unique(storage_then[parted]).tolist():
        members = np.flatnonzero(storage_then == storage)
        shared = rows[members]
        paths = [facts.snapshot.tensor_path(int(row)) for row in shared.tolist()]
        elsewhere = storage_now[members] != storage_now[members[0]]
        apart = [path for path, away in zip(paths, elsewhere.tolist(), strict=True) if away]
        yield rule.finding(
            apart[0],
            f"{paths[0]} and {apart[0]} shared one tensor at the baseline; now each has its own.",
            {"were_one": paths, "apart": apart, "elements": elements(facts, shared[:1])},
        )
