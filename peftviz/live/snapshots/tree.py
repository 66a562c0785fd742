"""The tree of a live model, as the walk of a capture recorded it, with the objects themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from peftviz.core.paths import Paths
from peftviz.core.tables import ModuleFlag
from peftviz.live.peft_facts import REGISTRY_ATTRIBUTES
from peftviz.live.snapshots.capture import record

if TYPE_CHECKING:
    import torch

    from peftviz.live.snapshots.walk import Walk


class Tree:
    """Modules of a model by row, in preorder; a module met again has a row again, and is expanded once.

    Args:
        model: The root.
        recorded: A walk of it that kept its objects, the model unchanged since; made here when there is none.

    Attributes:
        walk: The columns.
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
        self.walk = found
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
