"""Reads what a model says of its adapters: configs, activity, merged and disabled state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from peftviz.core.rows import Adapter, AdapterState
from peftviz.live.peft_facts import (
    ACTIVE_OF_HANDLE,
    ACTIVE_OF_LAYER,
    DISABLED_OF_LAYER,
    MERGED_OF_LAYER,
    MIXIN_LOADED,
    REGISTRY_ATTRIBUTES,
    handle_kind,
    is_peft_class,
)
from peftviz.live.snapshots.module_state import describe

if TYPE_CHECKING:
    import torch


def read_adapters(
    model: torch.nn.Module,
    registries: Iterable[tuple[str, torch.nn.Module]],
    states: Iterable[str],
    *,
    has_layers: bool,
) -> tuple[tuple[Adapter, ...], AdapterState]:
    """Reads the adapters of a model.

    Args:
        model: The root of the captured tree.
        registries: Path and object of each module that holds a config registry.
        states: The distinct states of PEFT's modules, as JSON.
        has_layers: Whether the tree has modules of PEFT's at all.

    Returns:
        One entry a registered adapter, in the order of the first registry that names it, and the state as a whole.
    """
    configs: dict[str, Any] = {}
    listed = []
    tuner = None
    reported: tuple[str, ...] | None = None
    for path, module in registries:
        registry = registry_of(module)
        if registry is None:
            continue
        listed.append((path, tuple(str(name) for name in registry)))
        for name, config in registry.items():
            configs.setdefault(str(name), config)
        if is_peft_class(type(module)):
            if tuner is None and handle_kind(module) == "tuner":
                tuner = type(module).__name__
            if ACTIVE_OF_HANDLE in vars(module):
                reported = as_names(vars(module)[ACTIVE_OF_HANDLE])  # the innermost registry decides: PEFT asks it

    active: dict[str, None] = {}
    merged: set[str] = set()
    disabled = []
    for text in states:
        state = json.loads(text) if text else {}
        if ACTIVE_OF_LAYER in state:
            active.update(dict.fromkeys(as_names(state[ACTIVE_OF_LAYER])))
        if MERGED_OF_LAYER in state:
            merged.update(as_names(state[MERGED_OF_LAYER]))
            disabled.append(bool(state.get(DISABLED_OF_LAYER)))
    names = tuple(active) if reported is None else reported
    adapters = tuple(_adapter(name, config, name in names, name in merged) for name, config in configs.items())
    kind = handle_kind(model)
    if kind is None:
        kind = "transformers" if vars(model).get(MIXIN_LOADED) else "injected" if has_layers else "plain"
    return adapters, AdapterState(
        handle=kind,
        tuner=tuner,
        active=names,
        enabled=not all(disabled) if disabled else None,
        registries=tuple(listed),
    )


def registry_of(module: torch.nn.Module) -> Mapping[str, Any] | None:
    """The dictionary of adapter configs that a module holds itself, or None."""
    for attribute in REGISTRY_ATTRIBUTES:
        value = vars(module).get(attribute)
        if isinstance(value, Mapping):
            return value
    return None


def as_names(value: Any) -> tuple[str, ...]:
    """Adapter names from a value that is a string in some versions and a list in others."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(name) for name in value) if isinstance(value, (list, tuple, set, frozenset)) else ()


def _adapter(name: str, config: Any, active: bool, merged: bool) -> Adapter:
    values = vars(config) if hasattr(config, "__dict__") else config if isinstance(config, Mapping) else {}
    described = describe(dict(values))
    method = str(described.get("peft_type") or type(config).__name__)
    return Adapter(
        name=name,
        method=method,
        config=described,
        active=active,
        merged=merged,
        inference=bool(described.get("inference_mode")),
    )
