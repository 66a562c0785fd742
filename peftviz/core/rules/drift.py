"""PV3xx: what became of the base model since the baseline: flags, objects, hooks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rules.base import elements, first_paths, has_adapters, matched_parameters, trains_base
from peftviz.core.rules.entries import short_name
from peftviz.core.rules.facts import Facts
from peftviz.core.rules.history import cause_in_words
from peftviz.core.rules.rule import Rule
from peftviz.core.tables import TensorFlag

ONE_SETUP = 2
"""Gradient checkpointing set up once registers its hook on the embeddings up to this many times."""

NOT_OURS = "Remove the surplus hooks by the handles that registering them gave back: only who set them can tell which."


def frozen_or_unfrozen(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV301: parameters of the base train now and did not, or did and do not, without an adapter to explain it."""
    if facts.baseline is None:
        return
    rows, source = matched_parameters(facts)
    now = (facts.snapshot.tensors.flags[rows] & TensorFlag.REQUIRES_GRAD) != 0
    then = (facts.baseline.tensors.flags[source] & TensorFlag.REQUIRES_GRAD) != 0
    trained_by = [adapter.name for adapter in facts.snapshot.adapters if trains_base(adapter.config)]
    frozen = rows[then & ~now] if not has_adapters(facts) or facts.once_known else rows[:0]
    # While adapters are disabled, some versions of PEFT let the wrapped originals train, on purpose.
    explained = bool(trained_by) or facts.snapshot.adapter_state.enabled is False
    thawed = rows[:0] if explained else rows[~then & now]
    for changed, message in (
        (frozen, "the base stayed frozen: {} of its parameters trained before the adapters came and do not now"),
        (thawed, "the base thawed: {} of its parameters were frozen at the baseline and train now"),
    ):
        if len(changed):
            text = message.format(len(changed))
            steps = facts.history.told(facts.history.last_change(changed, "requires_grad"))
            yield rule.finding(
                facts.snapshot.tensor_path(int(changed[0])) if len(changed) == 1 else "",
                f"{text[0].upper()}{text[1:]}{cause_in_words(steps)}.",
                {
                    "parameters": len(changed),
                    "of": len(rows),
                    "elements": elements(facts, changed),
                    "trainable_now": bool(changed is thawed),
                    "paths": first_paths(facts, changed),
                    **({"steps": steps} if steps else {}),
                },
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
            {"tensors": len(replaced), "elements": elements(facts, replaced), "paths": first_paths(facts, replaced)},
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
            repairable = gives_inputs_gradients(hook) and not facts.peft[row]
            evidence = {"hook": hook, "count": count, "at_baseline": then[hook] if facts.baseline else None}
            if lives_for_one_forward(hook):
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
                    remedy=None if repairable else NOT_OURS,
                    rows=[row],
                    repairable=repairable,
                )


# Helpers ------------------------------------------------------------------------------------------------------------


def _hooks_before(facts: Facts, row: int) -> Counter[str]:
    if facts.baseline is None or row < 0 or not facts.baseline.modules.hooks[row]:
        return Counter()
    return Counter(json.loads(facts.baseline.hook_lists[facts.baseline.modules.hooks[row]]))


def gives_inputs_gradients(hook: str) -> bool:
    """Whether a hook makes embeddings require gradients: PEFT or transformers set it for gradient checkpointing.

    Setting it twice is the same as setting it once.
    """
    package, _, name = hook.partition(":")[2].partition(".")
    return package in ("peft", "transformers") and name.rpartition(".")[2].startswith("make_inputs_require_grad")


def lives_for_one_forward(hook: str) -> bool:
    """Whether PEFT registers this hook at the start of a forward and removes it at the end.

    Those are functions; the pre-hooks that PEFT leaves on purpose are methods of its modules.
    """
    if not hook.startswith("forward_pre:peft."):
        return False
    *_, owner, _name = hook.partition(":")[2].split(".")
    return owner == "<locals>" or not owner[:1].isupper()
