"""PV307: what adapters wrote into the config and the attributes of the base model, and left there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peftviz.core.finding import Finding
from peftviz.core.rules.base import base_row, has_adapters
from peftviz.core.rules.facts import Facts
from peftviz.core.rules.rule import Rule
from peftviz.core.rules.states import REGISTRIES

OF_ADAPTERS = ("adapter", "lora", "peft", "modules_to_save")
"""Parts of names of attributes that libraries give a model for the sake of its adapters."""


def changed_config(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV307: adapters are gone, and the base's config or attributes are not those of the baseline."""
    if facts.baseline is None or has_adapters(facts):
        return
    now, then = facts.snapshot.base, facts.baseline.base
    path = facts.snapshot.module_path(base_row(facts.snapshot))
    entries = {key: [then.config[key], now.config[key]] for key in sorted(now.config.keys() & then.config.keys())}
    changed = {key: values for key, values in entries.items() if differs(*values)}
    if changed:
        said = ", ".join(f"{key} was {old!r} and is {new!r}" for key, (old, new) in changed.items())
        yield rule.finding(
            path,
            f"The config of the base is not that of the baseline: {said}.",
            {"changed": changed},
            repairable=all(plain(value) for values in changed.values() for value in values),
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


def differs(then: Any, now: Any) -> bool:
    """Whether an entry of a config says something else than before; one that said nothing is filled in by saving."""
    return then is not None and then != now


def plain(value: Any) -> bool:
    """Whether a value of a config is one that a snapshot holds exactly, and not a description of an object."""
    return value is None or isinstance(value, (bool, int, float, str))
