"""Tells what each module and tensor is for, from the classes along its path alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from peftviz.core.tables import BoolArray, IntArray, Role
from peftviz.live.peft_facts import SAVED_CONTAINER, is_buffer_dict, is_peft_class
from peftviz.live.snapshots.interning import Interner
from peftviz.live.snapshots.tensors import TensorRecorder
from peftviz.live.snapshots.walk import Walk


def assign_roles(
    walk: Walk, registry_rows: Sequence[int]
) -> tuple[IntArray, IntArray, IntArray, IntArray, Interner[str]]:
    """Roles and adapters by the general rule: what lies in a container keyed by adapter names belongs to that adapter.

    Such a container is a `ModuleDict`, `ParameterDict` or `BufferDict` that a module of PEFT's holds.

    Args:
        walk: The recorded tree.
        registry_rows: Rows of the modules that hold a config registry; those wrap a model, not a layer.

    Returns:
        Role and adapter code of each module row, the same of each tensor row, and the interned adapter names.
    """
    adapters: Interner[str] = Interner([""])
    tensors: TensorRecorder = walk.tensors
    role = np.zeros(len(walk.parent), np.uint8)
    adapter = np.zeros(len(role), np.int32)
    of_type = np.array([(is_peft_class(cls), _is_keyed_container(cls)) for cls in walk.types], bool)
    if not of_type[:, 0].any():
        return role, adapter, role[tensors.owner], adapter[tensors.owner], adapters
    parent = np.maximum(walk.parent, 0)
    peft, dict_like = of_type[:, 0][walk.cls], of_type[:, 1][walk.cls]
    container = dict_like & (peft & ~dict_like)[parent]
    container[0] = False
    wrapper = peft & ~container
    holds = np.zeros(len(role), bool)
    holds[parent[1:][~container[1:]]] = True

    # A container or a wrapper decides for all below it, down to the next one.
    role[container | wrapper] = Role.SHARED
    role[wrapper & holds] = Role.WRAPPER
    below = _BELOW[role]
    for row in registry_rows:
        if role[row] == Role.WRAPPER:
            below[row] = Role.BASE
    decider = _nearest(container | wrapper, parent)
    role = np.where(container | wrapper, role, below[decider])

    # What has an adapter's name belongs to it, and all below; the outermost such name counts.
    keyed = container[parent]
    tensor_keyed = container[tensors.owner]
    is_key = np.zeros(len(walk.names), bool)
    is_key[walk.name[keyed]] = is_key[tensors.name[tensor_keyed]] = True
    code_of_name = np.zeros(len(is_key), np.int32)
    names = list(walk.names)
    for key in np.flatnonzero(is_key).tolist():
        code_of_name[key] = adapters[names[key]]
    owner = _nearest(keyed, parent)
    while keyed[outer := owner[parent[owner]]].any():
        owner = np.where(keyed[outer], outer, owner)
    owned = keyed[owner]
    saved = walk.name[parent[owner]] == walk.names.get(SAVED_CONTAINER, -1)
    role[owned] = np.where(saved, Role.SAVED, Role.ADAPTER)[owned]
    adapter[owned] = code_of_name[walk.name[owner]][owned]

    tensor_role = role[tensors.owner]
    tensor_role[tensor_role == Role.WRAPPER] = Role.SHARED
    tensor_adapter = adapter[tensors.owner]
    unowned = tensor_keyed & (tensor_adapter == 0)
    tensor_role[unowned] = Role.ADAPTER
    tensor_adapter[unowned] = code_of_name[tensors.name[unowned]]
    return role, adapter, tensor_role, tensor_adapter, adapters


_BELOW = np.arange(len(Role), dtype=np.uint8)
_BELOW[Role.WRAPPER] = Role.WRAPPED
"""What is below a module of each role and nothing in itself."""


def _nearest(marked: BoolArray, parent: IntArray) -> IntArray:
    """For each row, the row itself or the nearest ancestor that is marked; 0 where none is."""
    found = np.where(marked, np.arange(len(parent), dtype=parent.dtype), parent)
    while not np.array_equal(found, further := found[found]):  # each turn doubles how far it looks
        found = further
    return found


def _is_keyed_container(cls: type) -> bool:
    return issubclass(cls, (torch.nn.ModuleDict, torch.nn.ParameterDict)) or is_buffer_dict(cls)
