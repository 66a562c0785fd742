"""The tree of a live model, as the walk of a capture recorded it, with the objects themselves."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from peftviz.core.paths import Paths
from peftviz.core.tables import ModuleFlag
from peftviz.live.peft_facts import REGISTRY_ATTRIBUTES
from peftviz.live.snapshots.capture import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from peftviz.live.snapshots.walk import Walk

_slots = attrgetter("__dict__")
_modules = itemgetter("_modules")
_parameters = itemgetter("_parameters")


class Tree:
    """Modules of a model by row, in preorder; a module met again has a row again, and is expanded once.

    Args:
        model: The root.
        recorded: A walk of it that kept its objects, the model unchanged since; made here when there is none.

    Attributes:
        modules: The module of each row.
        parents: Row of its parent, -1 for the root.
        names: Its name there.
        paths: Path of each row.
        peft: Rows of PEFT's modules.
        again: Rows of modules that were met before.
        hooked: Rows of modules with forward hooks, each module once.
        registered: Rows of modules that have an attribute `peft_config` and are not PEFT's.
        parameters: Every parameter once.
    """

    def __init__(self, model: torch.nn.Module, recorded: Walk | None = None) -> None:
        found = recorded or record(model, values="off", keep=True)
        self.modules = found.modules
        self.parents: list[int] = found.parent.tolist()
        self.names = list(map(list(found.names).__getitem__, found.name.tolist()))
        self.paths = Paths(self.parents, self.names)
        of_peft = (found.flags & ModuleFlag.PEFT_CLASS) != 0
        self.peft: list[int] = np.flatnonzero(of_peft).tolist()
        self.again: set[int] = set(found.alias_rows.tolist())
        self.hooked = [
            row
            for row in np.flatnonzero(found.hooks).tolist()
            if row not in self.again and _is_hooked(self.modules[row])
        ]
        attribute, _ = REGISTRY_ATTRIBUTES
        registries = sorted(row for row, module in found.registries if attribute in vars(module))
        self.registered = [row for row in registries if not of_peft[row]]
        self.parameters = found.tensors.parameters


def _is_hooked(module: torch.nn.Module) -> bool:
    slots = vars(module)
    return bool(slots.get("_forward_hooks") or slots.get("_forward_pre_hooks"))


def reach(model: torch.nn.Module) -> tuple[set[int], list[torch.nn.Parameter]]:
    """`id` of each module of a model, and every parameter once: the least that a walk can read."""
    seen: set[int] = set()
    tensors: list[torch.nn.Parameter | None] = []
    level: list[Any] = [model]
    while level:
        fresh = dict(zip(map(id, level), level, strict=True))
        if not seen.isdisjoint(fresh):
            fresh = {mark: module for mark, module in fresh.items() if mark not in seen}
        seen.update(fresh)
        slots: list[Mapping[str, Any]] = list(map(_slots, fresh.values()))
        try:
            children = list(map(_modules, slots))
        except KeyError:
            slots = list(map(_slots_of, fresh.values()))
            children = list(map(_modules, slots))
        tensors += chain.from_iterable([own.values() for own in map(_parameters, slots) if own])
        level = list(chain.from_iterable([inner.values() for inner in children if inner]))
        if None in level:
            level = [module for module in level if module is not None]
    return seen, list({id(item): item for item in tensors if item is not None}.values())


def _slots_of(module: torch.nn.Module) -> Mapping[str, Any]:
    slots = vars(module)
    if "_modules" in slots:
        return slots
    empty: dict[str, Any] = {key: {} for key in ("_parameters", "_forward_hooks", "_forward_pre_hooks")}
    return {**empty, "_modules": dict(module.named_children())}
