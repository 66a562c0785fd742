"""What rules ask about the base model: its parameters against the baseline, and what is around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from peftviz.core.rules.columns import once
from peftviz.core.rules.facts import HANDLE_CHILD, Facts
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, ModuleFlag, Role, TensorFlag

SHOWN_PATHS = 8

HELD_AS = (HANDLE_CHILD, "model")
"""Names under which PEFT's handles hold the tuner, and the tuner the model."""

_HOW_TO_RUN = "runtime_config"
"""Entry of every LoRA config that says how it runs, not what it is."""


def base_row(snapshot: Snapshot) -> int:
    """Row of the model that PEFT's handles hold; 0 where there are none."""
    modules, row = snapshot.modules, 0
    while modules.role[row] == Role.WRAPPER and modules.flags[row] & ModuleFlag.PEFT_CLASS:
        held = [child for child in snapshot.child_rows(row).tolist() if snapshot.names[modules.name[child]] in HELD_AS]
        if not held:
            break
        row = held[0]
    return row


def has_adapters(facts: Facts) -> bool:
    """Whether adapters live in the model; a registry that outlived an unload does not count."""
    return bool(facts.peft.any()) and (bool(facts.all_known) or bool((~facts.unknown).any()))


def matched_parameters(facts: Facts) -> tuple[IntArray, IntArray]:
    """Rows of the base's parameters that the baseline has too, and their rows there."""
    assert facts.baseline is not None
    source = facts.diff.tensor_source
    parameter = (facts.snapshot.tensors.flags & TensorFlag.BUFFER) == 0
    rows = np.flatnonzero(facts.base_tensors & parameter & (source >= 0))
    return rows, source[rows]


def merged_modules(facts: Facts) -> IntArray:
    """For each module row, whether it lies in a layer that has an adapter merged. Shape `(modules,)`, bool."""
    inside = np.zeros(len(facts.snapshot.modules), bool)
    for row in facts.rows_with(bool(state.merged) for state in facts.states).tolist():
        inside[row : facts.snapshot.subtree_end[row]] = True
    return inside


def adapters_around(facts: Facts, module: int) -> frozenset[str]:
    """Names that have weights in the layer which wraps a module of the base."""
    modules = facts.snapshot.modules
    while module >= 0 and modules.role[module] == Role.WRAPPED:
        module = int(modules.parent[module])
    inside = (facts.entries.holder == module) & ~facts.unknown
    return frozenset(facts.snapshot.adapter_names[code] for code in once(facts.entries.adapter[inside]).tolist())


def trains_base(config: Mapping[str, Any]) -> bool:
    """Whether an adapter's config says that it trains biases of the base in place."""
    return config.get("bias") not in (None, False, "none")


def initialisers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a config that may say how an adapter changes the base when it is added.

    A named initialisation, as in `init_lora_weights="pissa"`, and a configuration of a variant, as in `kasa_config`.
    """
    named = {key: value for key, value in config.items() if key.startswith("init") and isinstance(value, str)}
    variants = {
        key: str(value["!type"]).rpartition(".")[2]
        for key, value in config.items()
        if key.endswith("_config") and key != _HOW_TO_RUN and isinstance(value, Mapping) and "!type" in value
    }
    return {**named, **variants}


def elements(facts: Facts, rows: IntArray) -> int:
    """Number of elements of some tensors together."""
    specs, tensors = facts.snapshot.specs, facts.snapshot.tensors
    return sum(specs[code].numel for code in tensors.spec[rows].tolist())


def first_paths(facts: Facts, rows: IntArray) -> list[str]:
    """The paths of some tensors, the first few."""
    return [facts.snapshot.tensor_path(int(row)) for row in rows[:SHOWN_PATHS]]
