"""Tensors that should be one and are not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rules.base import base_row, elements, matched_parameters
from peftviz.core.rules.entries import short_name
from peftviz.core.rules.facts import Facts
from peftviz.core.rules.rule import Rule
from peftviz.core.snapshot import Snapshot, join
from peftviz.core.tables import Role

KEEP_TIED = "ensure_weight_tying"
"""Entry of a config that asks PEFT to keep tied what it copies."""


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


def declared_ties(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV306: the config says that embeddings and output layer have one weight, and they have two."""
    snapshot = facts.snapshot
    ends = _ends(snapshot, snapshot.base.tied)
    if ends is None:
        return
    weights = [_weight(snapshot, row, "", (Role.BASE, Role.WRAPPED)) for row in ends]
    if None not in weights and not _one(snapshot, *weights) and not _one_at_baseline(facts):
        yield _apart(rule, facts, ends, weights)
    for name in sorted(facts.all_known or set(snapshot.adapter_names[1:])):
        copies = [_weight(snapshot, row, name, (Role.SAVED,)) for row in ends]
        if any(row is not None for row in copies) and not _one(snapshot, *copies):
            yield _trained_apart(rule, facts, ends, name, copies)


def _apart(rule: Rule, facts: Facts, ends: list[int], weights: list[int | None]) -> Finding:
    """The weights of the base are two."""
    snapshot = facts.snapshot
    paths = [snapshot.tensor_path(row) for row in weights if row is not None]
    same = _same_values(snapshot, *weights)
    consequence = "they hold the same values" if same else "a loader that follows the config loses one"
    of_old = facts.baseline is not None and facts.baseline.base.tied == snapshot.base.tied
    return rule.finding(
        paths[1],
        f"The config ties {paths[0]} and {paths[1]}, but each has a tensor of its own; {consequence}.",
        {"paths": paths, "same_values": same, "at_baseline": of_old},
        severity="info" if of_old else "warning" if same else "error",
        rows=sorted(ends),
    )


def _trained_apart(rule: Rule, facts: Facts, ends: list[int], name: str, copies: list[int | None]) -> Finding:
    """An adapter has a copy of one of the two, or a copy of each."""
    snapshot = facts.snapshot
    labels = [short_name(snapshot, row) for row in ends]
    asked = any(adapter.name == name and adapter.config.get(KEEP_TIED) is True for adapter in snapshot.adapters)
    both = None not in copies
    drifted = both and _same_values(snapshot, *copies) is False
    if both:
        words = "have drifted apart" if drifted else "are two tensors, which training will drive apart"
        message = f"The config ties {labels[0]} and {labels[1]}; the copies of both that {name!r} trains {words}."
    else:
        own, other = labels if copies[0] is not None else reversed(labels)
        message = (
            f"The config ties {own} and {other}; {name!r} trains a copy of {own} alone: "
            "merged or unloaded, the two are no longer one."
        )
    remedy = f"Set {KEEP_TIED}=True in the adapter's config, or name neither of the two in modules_to_save."
    if asked:
        message = f"{message[:-1]}, though its config says {KEEP_TIED}=True."
        remedy = f"PEFT heeds {KEEP_TIED} for the first adapter of a model only: give this one a model of its own."
    paths = [snapshot.tensor_path(row) for row in copies if row is not None]
    return rule.finding(
        paths[0],
        message,
        {"copies": paths, "tied": labels, "drifted": drifted, "asked_to_be_tied": asked},
        adapter=name,
        severity="warning" if drifted or asked else "info",
        remedy=remedy,
    )


def tied_in_fact(snapshot: Snapshot, tied: tuple[str, ...]) -> bool:
    """Whether the base's weights of two modules, by their paths in the base, are one."""
    ends = _ends(snapshot, tied)
    return ends is not None and _one(snapshot, *(_weight(snapshot, row, "", (Role.BASE, Role.WRAPPED)) for row in ends))


def _ends(snapshot: Snapshot, tied: tuple[str, ...]) -> list[int] | None:
    """Rows of the two modules that a config ties, aliases followed."""
    base = snapshot.module_path(base_row(snapshot))
    rows = [snapshot.find_module(join(base, path)) for path in tied]
    found = [row for row in rows if row is not None]
    if len(found) != 2:
        return None
    targets = [snapshot.alias_target(row) for row in found]
    return [row if target is None else target for row, target in zip(found, targets, strict=True)]


def _weight(snapshot: Snapshot, module: int, adapter: str, roles: tuple[Role, ...]) -> int | None:
    """Row of the weight below a module that is an adapter's, or with `""` the base's own."""
    tensors = snapshot.tensors
    start, stop = np.searchsorted(tensors.owner, [module, int(snapshot.subtree_end[module])])
    for row in range(int(start), int(stop)):
        theirs = snapshot.adapter_names[tensors.adapter[row]] == adapter
        if theirs and snapshot.names[tensors.name[row]] == "weight" and tensors.role[row] in roles:
            return row
    return None


def _one(snapshot: Snapshot, first: int | None, second: int | None) -> bool:
    """Whether two tensors are one."""
    if first is None or second is None:
        return False
    return bool(snapshot.tensors.storage[first] == snapshot.tensors.storage[second])


def _same_values(snapshot: Snapshot, first: int | None, second: int | None) -> bool | None:
    """Whether two tensors hold the same values, as far as fingerprints tell; None where there are none."""
    if first is None or second is None or snapshot.values == "off":
        return None
    prints = snapshot.tensors.fingerprint[[first, second]].tolist()
    return bool(prints[0] == prints[1]) if all(prints) else None


def _one_at_baseline(facts: Facts) -> bool:
    """Whether the two were one at the baseline, which is for PV303 to tell."""
    return facts.baseline is not None and tied_in_fact(facts.baseline, facts.baseline.base.tied)
