"""PV3xx: what became of the base model since the baseline."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rules.entries import short_name
from peftviz.core.rules.facts import Facts, alike, quoted
from peftviz.core.rules.rule import Rule
from peftviz.core.tables import IntArray, Role, TensorFlag

SHOWN_PATHS = 8

ONE_SETUP = 2
"""Gradient checkpointing set up once registers its hook on the embeddings up to this many times."""


def frozen_or_unfrozen(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV301: parameters of the base train now and did not, or did and do not, without an adapter to explain it."""
    if facts.baseline is None:
        return
    rows, source = _matched_parameters(facts)
    now = (facts.snapshot.tensors.flags[rows] & TensorFlag.REQUIRES_GRAD) != 0
    then = (facts.baseline.tensors.flags[source] & TensorFlag.REQUIRES_GRAD) != 0
    trained_by = [adapter.name for adapter in facts.snapshot.adapters if _trains_base(adapter.config)]
    frozen = rows[then & ~now] if not _has_adapters(facts) or facts.once_known else rows[:0]
    # While adapters are disabled, some versions of PEFT let the wrapped originals train, on purpose.
    explained = bool(trained_by) or facts.snapshot.adapter_state.enabled is False
    thawed = rows[:0] if explained else rows[~then & now]
    for changed, message in (
        (frozen, "the base stayed frozen: {} of its parameters trained before the adapters came and do not now"),
        (thawed, "the base thawed: {} of its parameters were frozen at the baseline and train now"),
    ):
        if len(changed):
            text = message.format(len(changed))
            yield rule.finding(
                facts.snapshot.tensor_path(int(changed[0])) if len(changed) == 1 else "",
                f"{text[0].upper()}{text[1:]}.",
                {
                    "parameters": len(changed),
                    "of": len(rows),
                    "elements": _elements(facts, changed),
                    "trainable_now": bool(changed is thawed),
                    "paths": _paths(facts, changed),
                },
            )


def changed_weights(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV302: values of the base are not those of the baseline, and no merge that is still on explains it."""
    if facts.baseline is None or facts.baseline.values != facts.snapshot.values or facts.snapshot.values == "off":
        return
    rows, source = _matched_parameters(facts)
    tensors, earlier = facts.snapshot.tensors, facts.baseline.tensors
    now, then = tensors.fingerprint[rows], earlier.fingerprint[source]
    changed = (now != then) & (now != 0) & (then != 0)
    before = Facts(facts.baseline)
    changed &= ~_merged_modules(facts)[tensors.owner[rows]] & ~_merged_modules(before)[earlier.owner[source]]
    rows, source = rows[changed], source[changed]
    if not len(rows):
        return
    bias_of = [adapter.name for adapter in facts.snapshot.adapters if _trains_base(adapter.config)]
    owners = [_adapters_around(facts, row) for row in tensors.owner[rows].tolist()]
    groups: dict[tuple[str, tuple[str, ...], bool], list[int]] = {}
    for row, names in zip(rows.tolist(), owners, strict=True):
        trains = bool(tensors.flags[row] & TensorFlag.REQUIRES_GRAD) and bool(bias_of)
        groups.setdefault((alike(facts.snapshot.tensor_path(row)), tuple(sorted(names)), trains), []).append(row)
    same_scope = facts.snapshot.scope is not None and facts.snapshot.scope is facts.baseline.scope
    identity = dict(zip(rows.tolist(), (tensors.identity[rows] != earlier.identity[source]).tolist(), strict=True))
    for (_, inside, trains), members in groups.items():
        replaced = same_scope and identity[members[0]]
        if trains or (inside and not facts.once_known.intersection(inside)):
            severity = "info"  # what came since then explains it: a trained bias, an initialiser such as PiSSA
        elif inside or not facts.peft.any():
            severity = "warning"  # rounding of a merge that was undone, or a merge that was meant to stay
        else:
            severity = "error"
        yield rule.finding(
            facts.snapshot.tensor_path(members[0]),
            _changed_message(facts, members, inside, bias_of if trains else [], replaced),
            {
                "tensors": len(members),
                "elements": _elements(facts, np.array(members)),
                "adapters_inside": list(inside),
                "replaced": replaced,
                "values": facts.snapshot.values,
                "paths": _paths(facts, np.array(members)),
            },
            severity=severity,
            adapter=inside[0] if len(inside) == 1 else None,
        )


def lost_ties(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV303: tensors of the base that were one at the baseline are not one any more."""
    if facts.baseline is None:
        return
    rows, source = _matched_parameters(facts)
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
            {"were_one": paths, "apart": apart, "elements": _elements(facts, shared[:1])},
        )


def replaced_adapters(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV305: an adapter has its name still, but other tensors than at the baseline."""
    if facts.baseline is None or facts.baseline.scope is None or facts.baseline.scope is not facts.snapshot.scope:
        return
    tensors, earlier, source = facts.snapshot.tensors, facts.baseline.tensors, facts.diff.tensor_source
    then_names = np.array([name in facts.once_known for name in facts.baseline.adapter_names], bool)
    rows = np.flatnonzero((tensors.adapter != 0) & (source >= 0) & ((tensors.flags & TensorFlag.BUFFER) == 0))
    rows = rows[then_names[earlier.adapter[source[rows]]] & (tensors.identity[rows] != earlier.identity[source[rows]])]
    for code in np.unique(tensors.adapter[rows]).tolist():
        name = facts.snapshot.adapter_names[code]
        replaced = rows[tensors.adapter[rows] == code]
        owners = np.unique(tensors.owner[replaced])
        yield rule.finding(
            facts.snapshot.tensor_path(int(replaced[0])),
            f"{len(replaced)} tensors of {name!r} are other ones than at the baseline: what it had learned is lost.",
            {"tensors": len(replaced), "elements": _elements(facts, replaced), "paths": _paths(facts, replaced)},
            adapter=name,
            rows=owners.tolist(),
        )


def piled_up_hooks(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV304: the same hook several times on one module, more often than at the baseline; or one left by a forward."""
    snapshot = facts.snapshot
    hooked = np.flatnonzero(snapshot.modules.hooks)
    hooked = hooked[~np.isin(hooked, snapshot.modules.alias_rows)]
    source = facts.diff.module_source if facts.baseline is not None else None
    for row in hooked.tolist():
        now = Counter(json.loads(snapshot.hook_lists[snapshot.modules.hooks[row]]))
        then = _hooks_before(facts, int(source[row]) if source is not None else -1)
        for hook, count in sorted(now.items()):
            where = short_name(snapshot, row)
            evidence = {"hook": hook, "count": count, "at_baseline": then[hook] if facts.baseline else None}
            if _lives_for_one_forward(hook):
                yield rule.finding(
                    snapshot.module_path(row),
                    f"{where} still has a hook that was meant for one forward: the next one will use stale names.",
                    evidence,
                    severity="error",
                    rows=[row],
                )
            elif source is not None and source[row] >= 0 and count > max(ONE_SETUP, then[hook]):
                yield rule.finding(
                    snapshot.module_path(row),
                    f"{where} has the same hook {count} times; at the baseline it was {then[hook]}.",
                    evidence,
                    rows=[row],
                )


# Helpers ------------------------------------------------------------------------------------------------------------


def _has_adapters(facts: Facts) -> bool:
    """Whether adapters live in the model; a registry that outlived an unload does not count."""
    return bool(facts.peft.any()) and (bool(facts.all_known) or bool((~facts.unknown).any()))


def _matched_parameters(facts: Facts) -> tuple[IntArray, IntArray]:
    """Rows of the base's parameters that the baseline has too, and their rows there."""
    assert facts.baseline is not None
    source = facts.diff.tensor_source
    parameter = (facts.snapshot.tensors.flags & TensorFlag.BUFFER) == 0
    rows = np.flatnonzero(facts.base_tensors & parameter & (source >= 0))
    return rows, source[rows]


def _merged_modules(facts: Facts) -> IntArray:
    """For each module row, whether it lies in a layer that has an adapter merged. Shape `(modules,)`, bool."""
    inside = np.zeros(len(facts.snapshot.modules), bool)
    for row in facts.rows_with(bool(state.merged) for state in facts.states).tolist():
        inside[row : facts.snapshot.subtree_end[row]] = True
    return inside


def _adapters_around(facts: Facts, module: int) -> frozenset[str]:
    """Names that have weights in the layer which wraps a module of the base."""
    modules = facts.snapshot.modules
    while module >= 0 and modules.role[module] == Role.WRAPPED:
        module = int(modules.parent[module])
    inside = (facts.entries.holder == module) & ~facts.unknown
    return frozenset(facts.snapshot.adapter_names[code] for code in np.unique(facts.entries.adapter[inside]).tolist())


def _trains_base(config: Any) -> bool:
    """Whether an adapter's config says that it trains biases of the base in place."""
    return config.get("bias") not in (None, False, "none")


def _changed_message(facts: Facts, members: list[int], inside: tuple[str, ...], bias: list[str], replaced: bool) -> str:
    path = facts.snapshot.tensor_path(members[0])
    subject = path if len(members) == 1 else f"{path} and {len(members) - 1} more like it"
    if bias:
        return f"{subject} changed since the baseline: {quoted(bias)} trains biases of the base in place."
    if replaced:
        verb = "was" if len(members) == 1 else "were"
        return f"{subject} {verb} replaced by another tensor with other values since the baseline."
    if inside and not facts.once_known.intersection(inside):
        return (
            f"{subject} changed since the baseline; {quoted(inside)} came since then and may have initialised it anew."
        )
    return f"{subject} changed since the baseline, and nothing that is merged explains it."


def _hooks_before(facts: Facts, row: int) -> Counter[str]:
    if facts.baseline is None or row < 0 or not facts.baseline.modules.hooks[row]:
        return Counter()
    return Counter(json.loads(facts.baseline.hook_lists[facts.baseline.modules.hooks[row]]))


def _lives_for_one_forward(hook: str) -> bool:
    """Whether PEFT registers this hook at the start of a forward and removes it at the end.

    Those are functions; the pre-hooks that PEFT leaves on purpose are methods of its modules.
    """
    if not hook.startswith("forward_pre:peft."):
        return False
    *_, owner, _name = hook.partition(":")[2].split(".")
    return owner == "<locals>" or not owner[:1].isupper()


def _elements(facts: Facts, rows: IntArray) -> int:
    specs, tensors = facts.snapshot.specs, facts.snapshot.tensors
    return sum(specs[code].numel for code in tensors.spec[rows].tolist())


def _paths(facts: Facts, rows: IntArray) -> list[str]:
    return [facts.snapshot.tensor_path(int(row)) for row in rows[:SHOWN_PATHS]]
