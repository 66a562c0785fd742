"""PV2xx: who is active, merged and present, and where a model contradicts itself about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rules.columns import distinct, once
from peftviz.core.rules.entries import short_name
from peftviz.core.rules.facts import Facts, quoted
from peftviz.core.rules.rule import Rule
from peftviz.core.rules.switches import Switches
from peftviz.core.tables import Role


def disagreeing_active(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV201: handle, tuner and layers do not agree on who is active."""
    yield from _stale_handles(rule, facts)
    groups = facts.switches
    for group in groups:
        if group.lacking:
            where = short_name(facts.snapshot, int(group.rows[0]))
            yield rule.finding(
                facts.snapshot.module_path(int(group.rows[0])),
                f"{where} is to run {quoted(sorted(group.lacking))}, of which it has nothing: its forward fails.",
                {**_evidence(group), "lacking": sorted(group.lacking)},
                adapter=_only(group.lacking),
                rows=group.rows.tolist(),
            )
            continue
        if group.auxiliary and group.expected and not group.active:
            continue  # PV202
        if not group.expected and group.handle >= 0 and _stale_names(facts, group.handle):
            continue  # the handle is at fault, and has been named
        if group.disabled or group.active == group.expected:
            continue
        where = short_name(facts.snapshot, int(group.rows[0]))
        yield rule.finding(
            facts.snapshot.module_path(int(group.rows[0])),
            f"{where} runs {quoted(sorted(group.active))}, while the model reports {quoted(sorted(group.expected))} "
            "as active here.",
            _evidence(group),
            adapter=_only(group.active ^ group.expected),
            rows=group.rows.tolist(),
        )
    yield from _partly_disabled(rule, facts, groups)


def _stale_handles(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """A handle that calls a name active that no config knows, or others than its layers run."""
    snapshot = facts.snapshot
    reported: list[tuple[int, tuple[str, ...]]] = []
    for row in facts.handles.tolist():
        names = facts.states[snapshot.modules.state[row]].handle_active or ()
        known = facts.known_names(int(facts.scope[row]))
        stale = _stale_names(facts, row)
        what = snapshot.types[snapshot.modules.type[row]].rpartition(".")[2]
        if stale:
            yield rule.finding(
                snapshot.module_path(row),
                f"{what} calls {quoted(stale)} active, but no config of that name is left.",
                {"reported": list(names), "registered": sorted(known)},
                adapter=_only(stale),
                rows=[row],
            )
        reported.append((row, names))
    for (outer, outer_names), (inner, inner_names) in pairwise(reported):
        if facts.composite or inner >= snapshot.subtree_end[outer] or not outer_names or not inner_names:
            continue
        known = facts.known_names(int(facts.scope[outer]))
        if set(outer_names) <= known and set(outer_names).isdisjoint(inner_names):
            kind = snapshot.types[snapshot.modules.type[outer]].rpartition(".")[2]
            yield rule.finding(
                snapshot.module_path(outer),
                f"{kind} calls {quoted(outer_names)} active, its layers run {quoted(inner_names)}.",
                {"reported": list(outer_names), "layers": list(inner_names)},
                adapter=_only(outer_names),
                severity="warning",
                rows=[outer],
            )


def _stale_names(facts: Facts, handle: int) -> list[str]:
    """Names that a handle calls active and no config knows."""
    names = facts.states[facts.snapshot.modules.state[handle]].handle_active or ()
    scope = int(facts.scope[handle])
    known = facts.known_names(scope)
    return [name for name in names if scope and name not in known]


def _partly_disabled(rule: Rule, facts: Facts, groups: Sequence[Switches]) -> Iterator[Finding]:
    """Some of the layers are switched off, others are on."""
    layers = [group for group in groups if not group.auxiliary and group.expected]
    for handle in sorted({group.handle for group in layers}):
        of_handle = [group for group in layers if group.handle == handle]
        off = [group.rows for group in of_handle if group.disabled]
        on = [group.rows for group in of_handle if not group.disabled]
        if off and on:
            rows = np.unique(np.concatenate(off))
            total = len(rows) + sum(map(len, on))
            yield rule.finding(
                facts.snapshot.module_path(int(rows[0])),
                f"{len(rows)} of {total} adapter layers are disabled, the others are not.",
                {"disabled": len(rows), "layers": total},
                rows=rows.tolist(),
            )


def inactive_copies(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV202: an adapter is active, its saved copy or token delta is not."""
    groups = [group for group in facts.switches if not group.lacking]  # PV201
    running = {group.handle for group in groups if not group.auxiliary and not group.disabled}
    layered = {group.handle for group in groups if not group.auxiliary}
    for group in groups:
        if not group.auxiliary or not group.expected or group.active:
            continue
        if group.disabled and group.handle in layered - running:
            continue  # everything is switched off
        if group.disabled and group.handle not in layered:
            continue
        name = _only(group.expected)
        where = short_name(facts.snapshot, int(group.rows[0]))
        reason = "is switched off" if group.disabled else "was not switched back on"
        yield rule.finding(
            facts.snapshot.module_path(int(group.rows[0])),
            f"{quoted(sorted(group.expected))} is active, but its own {where} {reason}: the original one runs instead.",
            _evidence(group),
            adapter=name,
            rows=group.rows.tolist(),
        )


def merged_subset(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV203: layers run what is merged, and that is not what is active."""
    for group in facts.switches:
        if not group.merged or group.disabled or group.merged == group.active:
            continue
        ignored, foreign = group.active - group.merged, group.merged - group.active
        parts = []
        if ignored:
            parts.append(f"{quoted(sorted(ignored))} is active but silently not applied")
        if foreign:
            parts.append(f"{quoted(sorted(foreign))} still acts though it is not active")
        yield rule.finding(
            facts.snapshot.module_path(int(group.rows[0])),
            f"With {quoted(sorted(group.merged))} merged into the base weights, {' and '.join(parts)}.",
            {**_evidence(group), "merged": sorted(group.merged)},
            adapter=_only(ignored or foreign),
            remedy="Load the base model again; unmerge before deleting." if group.stuck else None,
            rows=group.rows.tolist(),
            repairable=not group.stuck,
        )
    yield from _merged_and_gone(rule, facts)


def _merged_and_gone(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """A deleted adapter that is still merged: nothing can take its change out of the base weights any more."""
    snapshot = facts.snapshot
    rows = facts.rows_with(bool(state.merged) for state in facts.states)
    for code, scope, positions in distinct(snapshot.modules.state[rows], facts.scope[rows]):
        gone = [name for name in facts.states[code].merged or () if name not in facts.known_names(scope)]
        if gone:
            at = rows[positions]
            yield rule.finding(
                snapshot.module_path(int(at[0])),
                f"{quoted(gone)} was deleted while merged: its change stays in {len(at)} base weights for ever.",
                {"modules": len(at), "merged": list(facts.states[code].merged or ()), "gone": gone},
                adapter=_only(gone),
                remedy="Load the base model again; unmerge before deleting.",
                rows=at.tolist(),
                repairable=False,
            )


def weightless_adapters(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV204: a config names an adapter that has no weights in the tree."""
    snapshot, entries = facts.snapshot, facts.entries
    names = snapshot.adapter_names
    present = {names[code] for code in once(entries.adapter).tolist()}
    in_layers = {names[code] for code in once(entries.adapter[~entries.auxiliary]).tolist()}
    if facts.composite or _keeps_unkeyed_weights(facts):
        return
    for adapter in snapshot.adapters:
        targets = adapter.config.get("target_modules") or adapter.config.get("target_parameters")
        copies_only = adapter.name in present and adapter.name not in in_layers and bool(targets) and bool(in_layers)
        if (adapter.name in present and not copies_only) or adapter.name in _kept_aside(facts):
            continue
        path = next((path for path, listed in snapshot.adapter_state.registries if adapter.name in listed), "")
        what = "only copies of whole modules are left" if copies_only else "there is no weight of it anywhere"
        bare = not facts.peft.any()
        if bare:
            what = "nothing of PEFT is left in the model: unloading forgot the config"
        yield rule.finding(
            path,
            f"{adapter.name!r} is registered, but {what}.",
            {"method": adapter.method, "active": adapter.active, "copies_only": copies_only},
            adapter=adapter.name,
            severity="warning" if bare else None,
            remedy="repair(model) deletes the attribute peft_config of the model." if bare else None,
            repairable=bare,
        )


# Helpers ------------------------------------------------------------------------------------------------------------


def _keeps_unkeyed_weights(facts: Facts) -> bool:
    """Whether PEFT's modules own tensors under no adapter's name, so that nobody can tell whose they are."""
    snapshot = facts.snapshot
    tensors = snapshot.tensors
    return bool(((tensors.role == Role.SHARED) & (tensors.adapter == 0)).any())


def _kept_aside(facts: Facts) -> frozenset[str]:
    """Names that a tuner keeps something for outside of the tree, as adaption prompts do while they are disabled."""
    rows = [row for row, _, _ in facts.registries if facts.peft[row]]
    return frozenset(key for row in rows for _, keys in facts.state_of(row).keyed for key in keys)


def _evidence(group: Switches) -> dict[str, object]:
    return {
        "modules": len(group.rows),
        "runs": sorted(group.active),
        "expected": sorted(group.expected),
        "available": sorted(group.available),
        "disabled": group.disabled,
    }


def _only(names: frozenset[str] | Sequence[str]) -> str | None:
    """The adapter a finding is about, when it is exactly one."""
    return next(iter(names)) if len(names) == 1 else None
