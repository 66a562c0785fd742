"""PV4xx: how handles, configs and modules fit together, and what saving would make of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rules.columns import once
from peftviz.core.rules.facts import HANDLE_CHILD, Facts, quoted
from peftviz.core.rules.leftovers import empty_wrapper_rows
from peftviz.core.rules.rule import Rule
from peftviz.core.tables import Role, TensorFlag

SHOWN_KEYS = 8


def nested_handles(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV401: a `PeftModel` inside a `PeftModel`."""
    snapshot, modules = facts.snapshot, facts.snapshot.modules
    if HANDLE_CHILD not in snapshot.names:
        return
    children = np.flatnonzero(modules.name == snapshot.names.index(HANDLE_CHILD))
    parents = modules.parent[children[children > 0]]
    handles = once(parents[facts.peft[parents]]).tolist()
    names_below = {row: names for row, _, names in reversed(facts.registries)}
    for outer, inner in pairwise(handles):
        if inner >= snapshot.subtree_end[outer]:
            continue
        end = int(snapshot.subtree_end[inner])
        inside = frozenset().union(*(names for row, names in names_below.items() if inner <= row < end))
        around = frozenset().union(*(names for row, names in names_below.items() if outer <= row < inner))
        for row in facts.handles.tolist():  # the outer tuner writes into the inner one's registry, and has none itself
            if outer <= row < inner:
                around |= frozenset(facts.state_of(row).handle_active or ())
        twice = sorted(inside & around)
        kind = snapshot.types[modules.type[inner]].rpartition(".")[2]
        more = f" Both have an adapter named {quoted(twice)}." if twice else ""
        yield rule.finding(
            snapshot.module_path(inner),
            f"A {kind} lies inside another one; saving the outer one loses what the inner one holds.{more}",
            {"outer": snapshot.module_path(outer), "adapters_inside": sorted(inside), "same_names": twice},
            adapter=twice[0] if len(twice) == 1 else None,
            rows=[inner],
        )


def unsafe_to_save(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV402: no adapter is left, and the base's weights still have the keys of the wrappers around them."""
    if facts.all_known or bool((~facts.unknown).any()):
        return
    snapshot, tensors = facts.snapshot, facts.snapshot.tensors
    inside = np.zeros(len(snapshot.modules), bool)
    for row in empty_wrapper_rows(facts).tolist():
        inside[row : snapshot.subtree_end[row]] = True
    for row in once(facts.entries.wrapper[facts.unknown]).tolist():
        inside[row : snapshot.subtree_end[row]] = True
    kept = (tensors.role == Role.WRAPPED) & inside[tensors.owner] & ((tensors.flags & TensorFlag.PERSISTENT) != 0)
    rows = np.flatnonzero(kept)
    if not len(rows):
        return
    wrapped = "One weight" if len(rows) == 1 else f"{len(rows)} weights"
    yield rule.finding(
        "",
        f"{wrapped} of the base would be saved under names that no loader knows, and come back at random.",
        {
            "keys": len(rows),
            "elements": sum(snapshot.specs[code].numel for code in tensors.spec[rows].tolist()),
            "bytes": sum(snapshot.specs[code].nbytes for code in tensors.spec[rows].tolist()),
            "first": [snapshot.tensor_path(int(row)) for row in rows[:SHOWN_KEYS]],
        },
    )
