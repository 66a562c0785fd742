"""PV307: what adapters wrote into the config and the attributes of the base model, and left there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rules.base import base_row, has_adapters
from peftviz.core.rules.facts import Facts
from peftviz.core.rules.rule import Rule
from peftviz.core.rules.states import REGISTRIES
from peftviz.core.rules.ties import tied_in_fact
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import Role

OF_ADAPTERS = ("adapter", "lora", "peft", "modules_to_save")
"""Parts of names of attributes that libraries give a model for the sake of its adapters."""

LAYER_COUNT = "num_hidden_layers"
TIED = "tie_word_embeddings"
"""Entries of a config that PEFT sets when the model has become another: with repeated layers, with ties that merging
parted. They are right then, and those of the baseline would be wrong."""


def changed_config(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV307: adapters are gone, and the base's config or attributes are not those of the baseline."""
    if facts.baseline is None or has_adapters(facts):
        return
    now, then = facts.snapshot.base, facts.baseline.base
    path = facts.snapshot.module_path(base_row(facts.snapshot))
    entries = {key: [then.config[key], now.config[key]] for key in sorted(now.config.keys() & then.config.keys())}
    changed = {key: values for key, values in entries.items() if differs(*values)}
    back = restorable(facts.snapshot, facts.baseline)
    for of_these, repairable in ((changed.keys() & back.keys(), True), (changed.keys() - back.keys(), False)):
        part = {key: values for key, values in changed.items() if key in of_these}
        if part:
            said = ", ".join(f"{key} was {old!r} and is {new!r}" for key, (old, new) in part.items())
            yield rule.finding(
                path,
                f"The config of the base is not that of the baseline: {said}.",
                {"changed": part},
                remedy=None if repairable else NOT_WRITTEN_BACK,
                repairable=repairable,
            )
    left = [
        name
        for name in now.attributes
        if name not in then.attributes and name not in REGISTRIES and any(word in name.lower() for word in OF_ADAPTERS)
    ]
    if left and now.config:
        yield rule.finding(
            path,
            f"The base still has attributes that it was given for its adapters: {', '.join(left)}.",
            {"attributes": left},
            severity="info",
            remedy="Delete them, if other code of yours does not read them.",
            repairable=False,
        )


NOT_WRITTEN_BACK = "The config describes the model as it is: load the base again to have both as they were."


def restorable(now: Snapshot, then: Snapshot) -> dict[str, Any]:
    """The entries of the base's config that `then` has otherwise and that would be true of the model of `now`."""
    values = now.base.config
    found = {
        key: old
        for key, old in then.base.config.items()
        if key in values and differs(old, values[key]) and plain(old) and plain(values[key])
    }
    if found.get(TIED) is True and not tied_in_fact(now, then.base.tied):
        del found[TIED]
    if LAYER_COUNT in found and _size(now) != _size(then):
        del found[LAYER_COUNT]
    return found


def _size(snapshot: Snapshot) -> int:
    """Number of modules of the base, what it has in several places counted there."""
    return int(np.isin(snapshot.modules.role, (Role.BASE, Role.WRAPPED)).sum())


def differs(then: Any, now: Any) -> bool:
    """Whether an entry of a config says something else than before; one that said nothing is filled in by saving."""
    return then is not None and then != now


def plain(value: Any) -> bool:
    """Whether a value of a config is one that a snapshot holds exactly, and not a description of an object."""
    return value is None or isinstance(value, (bool, int, float, str))
