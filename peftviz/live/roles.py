"""Tells what each module and tensor is for, from the classes along its path alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from peftviz.core.preorder import record_depth
from peftviz.core.tables import IntArray, Role
from peftviz.live.interning import Interner
from peftviz.live.peft_facts import SAVED_CONTAINER, is_buffer_dict, is_peft_class
from peftviz.live.tensors import TensorRecorder
from peftviz.live.walk import Walk


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
    parent = walk.parent
    types = list(walk.types)
    peft = np.array([is_peft_class(cls) for cls in types], bool)[walk.cls]
    dict_like = np.array([_is_keyed_container(cls) for cls in types], bool)[walk.cls]
    parent_of = np.maximum(parent, 0)
    container = dict_like & peft[parent_of] & ~dict_like[parent_of] & (parent >= 0)
    wrapper = peft & ~container
    holds = np.zeros(len(parent), bool)
    holds[parent[(parent >= 0) & ~container]] = True
    registry = np.zeros(len(parent), bool)
    registry[list(registry_rows)] = True
    saved = container & (walk.name == walk.names.get(SAVED_CONTAINER, -1))

    adapters: Interner[str] = Interner([""])
    keys = np.unique(walk.name[container[parent_of] & (parent >= 0)])
    tensors: TensorRecorder = walk.tensors
    tensor_keyed = container[tensors.owner]
    all_keys = np.union1d(keys, np.unique(tensors.name[tensor_keyed]))
    names = list(walk.names)
    code_of_name = np.zeros(len(names), np.int64)
    for key in all_keys.tolist():
        code_of_name[key] = adapters[names[key]]

    role = np.full(len(parent), int(Role.BASE), np.uint8)
    adapter = np.zeros(len(parent), np.int64)
    depth = record_depth(parent)
    by_depth = np.argsort(depth, kind="stable")
    bounds = np.searchsorted(depth[by_depth], np.arange(int(depth.max(initial=0)) + 2))
    for level in range(len(bounds) - 1):
        rows = by_depth[bounds[level] : bounds[level + 1]]
        above = parent_of[rows] if level else rows
        above_role = role[above] if level else role[rows]
        owned = np.isin(above_role, (Role.ADAPTER, Role.SAVED))
        keyed = container[above] if level else np.zeros(len(rows), bool)
        shared = above_role == Role.SHARED
        held = ((above_role == Role.WRAPPER) & ~registry[above]) | (above_role == Role.WRAPPED)
        role[rows] = np.select(
            [owned, keyed, container[rows], wrapper[rows] & holds[rows], wrapper[rows], held, shared],
            [
                above_role,
                np.where(saved[above], Role.SAVED, Role.ADAPTER),
                np.full(len(rows), Role.SHARED),
                np.full(len(rows), Role.WRAPPER),
                np.full(len(rows), Role.SHARED),
                np.full(len(rows), Role.WRAPPED),
                np.full(len(rows), Role.SHARED),
            ],
            default=np.full(len(rows), Role.BASE),
        )
        adapter[rows] = np.where(owned, adapter[above], np.where(keyed, code_of_name[walk.name[rows]], 0))

    tensor_role = role[tensors.owner]
    tensor_role[tensor_role == Role.WRAPPER] = Role.SHARED
    tensor_adapter = adapter[tensors.owner]
    unowned = tensor_keyed & (tensor_adapter == 0)
    tensor_role[unowned] = Role.ADAPTER
    tensor_adapter[unowned] = code_of_name[tensors.name[unowned]]
    return role, adapter, tensor_role, tensor_adapter, adapters


def _is_keyed_container(cls: type) -> bool:
    return issubclass(cls, (torch.nn.ModuleDict, torch.nn.ParameterDict)) or is_buffer_dict(cls)
