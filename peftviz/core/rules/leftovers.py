"""PV1xx: what adapters left in the tree when they went, or when they never quite arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rules.columns import distinct, once
from peftviz.core.rules.entries import short_name
from peftviz.core.rules.facts import Facts, alike
from peftviz.core.rules.rule import Rule
from peftviz.core.rules.states import MERGED, NON_PERSISTENT, StateFacts
from peftviz.core.tables import IntArray, Role, TensorFlag

SHOWN_PATHS = 8
"""How many paths of a group of like places the evidence lists."""


def leftover_copies(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV101: a container still holds something for a name that no config knows."""
    chosen = facts.unknown & ~np.isin(facts.entries.adapter, _ghost_codes(facts))
    for indices in _groups_of_entries(facts, np.flatnonzero(chosen)):
        yield _leftover(rule, facts, indices)


def ghost_adapters(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV103: tuner layers hold weights for a name that no config knows."""
    entries, snapshot = facts.entries, facts.snapshot
    for code in _ghost_codes(facts):
        indices = np.flatnonzero(facts.unknown & (entries.adapter == code))
        name = snapshot.adapter_names[code]
        layers = once(entries.holder[indices])
        yield rule.finding(
            snapshot.module_path(int(layers[0])),
            f"{len(layers)} {'layer holds' if len(layers) == 1 else 'layers hold'} weights of {name!r}, "
            "an adapter that no config knows.",
            {**_sums(facts, indices), "layers": len(layers), "paths": _first_paths(facts, layers)},
            adapter=name,
            rows=np.unique([entries.row(index) for index in indices.tolist()]).tolist(),
        )


def empty_wrappers(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV102: a PEFT module wraps a base module and has no adapter left."""
    snapshot = facts.snapshot
    rows = empty_wrapper_rows(facts)
    living = bool((~facts.unknown).any()) or bool(facts.all_known)
    groups: dict[tuple[str, str], list[int]] = {}
    for row in rows.tolist():
        key = (alike(snapshot.module_path(row)), snapshot.types[snapshot.modules.type[row]])
        groups.setdefault(key, []).append(row)
    for (pattern, kind), members in groups.items():
        label, count = short_name(snapshot, members[0]), len(members)
        subject = f"{label} is" if count == 1 else f"{count} modules like {label} are"
        consequence = "" if living else " Saved like this, the weights inside are lost at the next load."
        yield rule.finding(
            snapshot.module_path(members[0]),
            f"{subject} still wrapped, though no adapter is left inside.{consequence}",
            {"modules": count, "pattern": pattern, "class": kind.rpartition(".")[2], "adapters_elsewhere": living},
            severity="warning" if living else "error",
            rows=members,
        )


def empty_wrapper_rows(facts: Facts) -> IntArray:
    """Rows of the wrappers around one base module in which every adapter container is empty."""
    snapshot, modules = facts.snapshot, facts.snapshot.modules
    containers = np.flatnonzero(facts.containers)
    filled = np.zeros(len(modules), bool)
    filled[facts.entries.container] = True
    filled[modules.alias_rows] |= filled[modules.alias_targets]  # a shared container is written out once only
    holders = once(modules.parent[containers])
    used = np.zeros(len(modules), bool)
    used[modules.parent[containers[filled[containers]]]] = True
    owns_weights = np.zeros(len(modules), bool)
    own = (snapshot.tensors.flags & TensorFlag.BUFFER) == 0  # a constant that layers keep, like BOFT's, trains nothing
    owns_weights[snapshot.tensors.owner[own]] = True
    wraps = np.zeros(len(modules), bool)
    inner = np.isin(modules.role, (Role.WRAPPED, Role.WRAPPER)) & (modules.parent >= 0)
    wraps[modules.parent[inner]] = True
    wraps[[start for start, _, _ in facts.registries]] = False
    empty = holders[(modules.role[holders] == Role.WRAPPER) & wraps[holders] & ~used[holders] & ~owns_weights[holders]]
    around = modules.parent[empty]
    passes_on = (modules.role[around] == Role.WRAPPER) & facts.peft[around] & ~np.isin(around, holders)
    passes_on &= ~np.isin(around, [start for start, _, _ in facts.registries])
    return once(np.where(passes_on, around, empty))


def undeclared_names(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV104: attributes of PEFT's modules still name an adapter that is gone."""
    snapshot, modules = facts.snapshot, facts.snapshot.modules
    traces: dict[str, dict[str, list[int]]] = {}
    rows = facts.rows_with(bool(state.keyed or state.strings) for state in facts.states)
    combinations = list(distinct(modules.state[rows], facts.scope[rows]))
    gone = {
        scope: _gone_names(facts, scope, [facts.states[code] for code, near, _ in combinations if near == scope])
        for scope in {scope for _, scope, _ in combinations}
    }
    for code, scope, members in combinations:
        for name, attribute in sorted(_traces_in(facts.states[code], facts.known_names(scope), gone[scope])):
            traces.setdefault(name, {}).setdefault(attribute, []).extend(rows[members].tolist())
    for name in sorted(traces):
        explained = _rows_with_entries(facts, name)
        found = {attribute: np.setdiff1d(at, explained) for attribute, at in sorted(traces[name].items())}
        found = {attribute: at for attribute, at in found.items() if len(at)}
        if not found:
            continue
        named = np.unique(np.concatenate(list(found.values())))
        subject = "A module still names" if len(named) == 1 else f"{len(named)} modules still name"
        yield rule.finding(
            snapshot.module_path(int(named[0])),
            f"{subject} {name!r} in {', '.join(found)}, though that adapter is gone.",
            {
                "attributes": {attribute: len(at) for attribute, at in found.items()},
                "modules": len(named),
                "paths": _first_paths(facts, named),
            },
            adapter=name,
            rows=named.tolist(),
        )


# Helpers ------------------------------------------------------------------------------------------------------------


def _ghost_codes(facts: Facts) -> list[int]:
    """Names with weights of their own in tuner layers that no registry knows, nor knew at the baseline."""
    entries = facts.entries
    own = facts.unknown & ~entries.auxiliary & (entries.parameters > 0)
    names = facts.snapshot.adapter_names
    return [code for code in once(entries.adapter[own]).tolist() if names[code] not in facts.once_known]


def _groups_of_entries(facts: Facts, indices: IntArray) -> Iterable[IntArray]:
    """Entries in like places: same adapter, same path but for numbers."""
    groups: dict[tuple[int, str], list[int]] = {}
    for index in indices.tolist():
        key = (int(facts.entries.adapter[index]), alike(facts.entries.path(facts.snapshot, index)))
        groups.setdefault(key, []).append(index)
    return [np.array(members) for members in groups.values()]


def _leftover(rule: Rule, facts: Facts, indices: IntArray) -> Finding:
    entries, snapshot = facts.entries, facts.snapshot
    first = int(indices[0])
    name = snapshot.adapter_names[entries.adapter[first]]
    holder = short_name(snapshot, int(entries.wrapper[first]))
    container = short_name(snapshot, int(entries.container[first]))
    what = _describe(facts, first)
    message = f"{what} of {holder} outlived its adapter."
    if len(indices) > 1:
        message = f"{len(indices)} leftovers like this: {what[0].lower()}{what[1:]} of {holder} outlived its adapter."
    return rule.finding(
        entries.path(snapshot, first),
        message,
        {**_sums(facts, indices), "container": container, "modules": len(indices)},
        adapter=name,
        rows=np.unique([entries.row(index) for index in indices.tolist()]).tolist(),
    )


def _describe(facts: Facts, index: int) -> str:
    """What an entry is, in a learner's words."""
    entries, snapshot = facts.entries, facts.snapshot
    if entries.module[index] >= 0 and snapshot.modules.role[entries.module[index]] == Role.SAVED:
        return "A trained copy"
    if not entries.weights[index]:
        return f"An entry in {short_name(snapshot, int(entries.container[index]))}"
    kind = "A set of trained values" if entries.parameters[index] else "A stored tensor"
    return f"{kind} ({short_name(snapshot, int(entries.container[index]))})"


def _sums(facts: Facts, indices: IntArray) -> dict[str, Any]:
    """Evidence that adds up over entries."""
    entries, snapshot = facts.entries, facts.snapshot
    return {
        "bytes": int(entries.nbytes[indices].sum()),
        "parameters": int(entries.parameters[indices].sum()),
        "trainable": int(entries.trainable[indices].sum()),
        "containers": sorted({short_name(snapshot, int(row)) for row in once(entries.container[indices])}),
        "registered": sorted(facts.all_known),
    }


def _first_paths(facts: Facts, rows: IntArray) -> list[str]:
    return [facts.snapshot.module_path(int(row)) for row in rows[:SHOWN_PATHS]]


def _traces_in(state: StateFacts, known: frozenset[str], gone: frozenset[str]) -> set[tuple[str, str]]:
    """Name and attribute of everything in one state that names an adapter no longer there."""
    found = {(key, attribute) for attribute, keys in state.keyed for key in keys if key in gone}
    found |= {(name, attribute) for attribute, names in state.strings for name in names if name in gone}
    return {(name, attribute) for name, attribute in found if name not in known and attribute != MERGED}


def _gone_names(facts: Facts, scope: int, states: Iterable[StateFacts]) -> frozenset[str]:
    """Names that were adapters once, as far as some registries do not list them.

    They key containers, or were registered at the baseline, or key a dictionary of attributes beside an adapter that
    is there, or name a buffer that is not. Where no adapter is left: they key two dictionaries of one module.
    """
    known = facts.known_names(scope)
    codes = once(facts.entries.adapter[facts.unknown])
    gone = {facts.snapshot.adapter_names[code] for code in codes.tolist()} | facts.once_known
    for state in states:
        gone.update(name for attribute, names in state.strings if attribute == NON_PERSISTENT for name in names)
        if known:
            gone.update(key for _, keys in state.keyed if not known.isdisjoint(keys) for key in keys)
        else:
            times = Counter(key for _, keys in state.keyed for key in set(keys))
            gone.update(key for key, count in times.items() if count > 1)
    return frozenset(gone) - known


def _rows_with_entries(facts: Facts, name: str) -> IntArray:
    """Rows where a container entry of a name stands beside the attribute: PV101 or PV103 tell of those."""
    entries, names = facts.entries, facts.snapshot.adapter_names
    code = names.index(name) if name in names else -1
    here = facts.unknown & (entries.adapter == code)
    return once(np.concatenate([entries.holder[here], entries.wrapper[here]]))
