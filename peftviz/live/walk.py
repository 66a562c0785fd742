"""Walks a module tree once and records it in columns.

Speed comes from the layout of memory, not from cleverness: modules are visited in chunks of a few hundred, and all
that is wanted of a chunk is read while it is in the processor's cache. Names, classes and tuples of child names are
interned, paths are never built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
import torch

from peftviz.core.preorder import preorder_positions
from peftviz.core.tables import IntArray, ModuleFlag
from peftviz.live.identity import IdentityRegistry
from peftviz.live.interning import Interner
from peftviz.live.module_state import StateInterner, hooks_json, to_json
from peftviz.live.peft_facts import REGISTRY_ATTRIBUTES, is_peft_class
from peftviz.live.tensors import TensorRecorder

CHUNK = 512

_EMPTY_SLOTS = {**vars(torch.nn.Module()), "training": False}


@dataclass
class Walk:
    """What one walk recorded; module columns are in preorder.

    Attributes:
        parent, name, type, flags, state, hooks, identity: Columns as in `ModuleTable`.
        alias_rows, alias_targets: As in `ModuleTable`.
        names: Interned attribute names.
        types: Interned classes; the codes of `type`.
        states: Interned module states.
        hook_lists: Interned hook lists.
        registries: Row and object of each module that holds a config registry.
        tensors: Recorder of the tensors, its owners already rows in preorder.
    """

    parent: IntArray
    name: IntArray
    type: IntArray
    flags: IntArray
    state: IntArray
    hooks: IntArray
    identity: IntArray
    alias_rows: IntArray
    alias_targets: IntArray
    names: Interner[str]
    types: Interner[type]
    states: StateInterner
    hook_lists: Interner[str]
    registries: list[tuple[int, torch.nn.Module]]
    tensors: TensorRecorder


@dataclass
class _Records:
    """Columns in the order of recording, in pieces of one chunk each."""

    parent: list[IntArray] = field(default_factory=list)
    name: list[IntArray] = field(default_factory=list)
    type: list[IntArray] = field(default_factory=list)
    training: list[IntArray] = field(default_factory=list)
    identity: list[IntArray] = field(default_factory=list)
    state: dict[int, int] = field(default_factory=dict)
    hooks: dict[int, int] = field(default_factory=dict)
    aliases: dict[int, int] = field(default_factory=dict)
    registries: list[tuple[int, torch.nn.Module]] = field(default_factory=list)


def walk(model: torch.nn.Module, registry: IdentityRegistry, *, values: str) -> Walk:
    """Records the tree of a model.

    Args:
        model: Root of the tree. It is read, never called and never changed.
        registry: Source of the serial numbers.
        values: `"off"`, `"sample"` or `"full"`: how tensor values are fingerprinted.
    """
    names: Interner[str] = Interner([""])
    types: Interner[type] = Interner()
    shapes: Interner[tuple[str, ...]] = Interner([()])
    shape_names: list[IntArray] = [np.zeros(0, np.int32)]
    states = StateInterner()
    hook_lists: Interner[str] = Interner([""])
    recorder = TensorRecorder(names, registry, values=values)
    records = _Records()
    first_record: dict[int, int] = {}  # serial of each module met -> its record
    peft_codes: set[int] = set()
    classes_seen = 0
    count = 0

    stack: list[tuple[list[Any], IntArray, IntArray]] = [([model], np.array([-1]), np.array([0]))]
    while stack:
        chunk, parent, name = stack.pop()
        classes = list(map(type, chunk))
        if NoneType in classes:
            present = [index for index, cls in enumerate(classes) if cls is not NoneType]
            chunk = [chunk[index] for index in present]
            classes = [classes[index] for index in present]
            parent, name = parent[present], name[present]
        if not chunk:
            continue
        base = count
        count += len(chunk)
        codes = [types[cls] for cls in classes]
        if len(types) > classes_seen:
            peft_codes = {code for cls, code in types.items() if is_peft_class(cls)}
            classes_seen = len(types)
        serials = registry.serials(chunk)
        dicts = [module.__dict__ for module in chunk]
        if len(set(serials)) < len(serials) or not first_record.keys().isdisjoint(serials):
            for index, serial in enumerate(serials):
                first = first_record.setdefault(serial, base + index)
                if first != base + index:
                    records.aliases[base + index] = first
                    dicts[index] = {**_EMPTY_SLOTS, "training": dicts[index].get("training", False)}  # expanded at its first occurrence only; this also ends cycles
        else:
            first_record.update(zip(serials, range(base, count), strict=True))
        try:
            hooked = _hooked(dicts)
            training = [slots["training"] for slots in dicts]
        except KeyError:  # a module that keeps its slots elsewhere, such as a ScriptModule
            dicts = [slots if base + index in records.aliases else _slots_of(chunk[index]) for index, slots in enumerate(dicts)]
            hooked = _hooked(dicts)
            training = [slots["training"] for slots in dicts]
        children = [slots["_modules"] for slots in dicts]
        recorder.add(base, dicts)

        records.parent.append(parent)
        records.name.append(name)
        records.type.append(np.array(codes, np.int32))
        records.training.append(np.array(training, np.uint8))
        records.identity.append(np.array(serials, np.int64))
        for index in hooked:
            records.hooks[base + index] = hook_lists[hooks_json(dicts[index])]
        for index, slots in enumerate(dicts):
            if codes[index] in peft_codes:
                records.state[base + index] = states.code(slots)
            elif "peft_config" in slots:
                own = {key: value for key, value in slots.items() if "peft" in key}
                records.state[base + index] = states.texts[to_json(own)]
            else:
                continue
            if any(attribute in slots for attribute in REGISTRY_ATTRIBUTES):
                records.registries.append((base + index, chunk[index]))

        kids = list(chain.from_iterable([child.values() for child in children]))
        if kids:
            shape_codes = [shapes[tuple(child)] for child in children]
            for shape in list(shapes)[len(shape_names) :]:
                shape_names.append(np.array([names[key] for key in shape], np.int32))
            kid_names = np.concatenate([shape_names[code] for code in shape_codes])
            kid_parents = np.repeat(np.arange(base, count), [len(child) for child in children])
            for start in reversed(range(0, len(kids), CHUNK)):
                stop = start + CHUNK
                stack.append((kids[start:stop], kid_parents[start:stop], kid_names[start:stop]))

    return _in_preorder(records, count, names, types, states, hook_lists, recorder, peft_codes)


def _in_preorder(
    records: _Records,
    count: int,
    names: Interner[str],
    types: Interner[type],
    states: StateInterner,
    hook_lists: Interner[str],
    recorder: TensorRecorder,
    peft_codes: set[int],
) -> Walk:
    parent = np.concatenate(records.parent)
    position = preorder_positions(parent)
    aliases = records.aliases
    if aliases:
        parent, position, aliases, moved = _expand_first(parent, position, aliases)
        recorder.move(moved)
    order = np.empty(count, np.int64)
    order[position] = np.arange(count)
    recorder.settle(position)

    alias_records = sorted(aliases, key=position.__getitem__)
    alias_rows = position[alias_records].astype(np.int64)
    alias_targets = position[[aliases[record] for record in alias_records]].astype(np.int64)
    kind = np.concatenate(records.type)[order]
    training = np.concatenate(records.training)[order]
    state = _scatter(records.state, count)[order]
    hooks = _scatter(records.hooks, count)[order]
    for column in (state, hooks):  # both rows are one object: what was read once holds for both
        column[alias_rows] = column[alias_targets] = np.maximum(column[alias_rows], column[alias_targets])
    flags = np.where(training, int(ModuleFlag.TRAINING), 0)
    flags[np.isin(kind, list(peft_codes))] |= int(ModuleFlag.PEFT_CLASS)
    ordered_parent = parent[order]
    return Walk(
        parent=np.where(ordered_parent < 0, -1, position[ordered_parent]),
        name=np.concatenate(records.name)[order],
        type=kind,
        flags=flags,
        state=state,
        hooks=hooks,
        identity=np.concatenate(records.identity)[order],
        alias_rows=alias_rows,
        alias_targets=alias_targets,
        names=names,
        types=types,
        states=states,
        hook_lists=hook_lists,
        registries=[(int(position[record]), module) for record, module in records.registries],
        tensors=recorder,
    )


def _expand_first(
    parent: IntArray, position: IntArray, aliases: dict[int, int]
) -> tuple[IntArray, IntArray, dict[int, int], dict[int, int]]:
    """Lets each shared module be expanded at its first occurrence in preorder, as PyTorch's own walks do.

    The walk met the occurrence nearest to the root first, which may come later in preorder.

    Returns:
        New parents and positions, new aliases, and the record to which the contents of a record moved.
    """
    aliases = dict(aliases)
    moved: dict[int, int] = {}
    while late := [alias for alias, first in aliases.items() if position[alias] < position[first]]:
        alias = min(late, key=position.__getitem__)
        first = aliases.pop(alias)
        parent = np.where(parent == first, alias, parent)
        moved = {source: alias if target == first else target for source, target in moved.items()} | {first: alias}
        aliases = {record: alias if target == first else target for record, target in aliases.items()} | {first: alias}
        position = preorder_positions(parent)
    return parent, position, aliases, moved


def _scatter(values: dict[int, int], count: int) -> IntArray:
    column = np.zeros(count, np.int64)
    if values:
        column[list(values)] = list(values.values())
    return column


def _hooked(dicts: list[Mapping[str, Any]]) -> list[int]:
    return [
        index
        for index, slots in enumerate(dicts)
        if slots["_forward_hooks"]
        or slots["_forward_pre_hooks"]
        or slots["_backward_hooks"]
        or slots["_backward_pre_hooks"]
        or slots["_state_dict_hooks"]
        or slots["_state_dict_pre_hooks"]
        or slots["_load_state_dict_pre_hooks"]
        or slots["_load_state_dict_post_hooks"]
    ]


def _slots_of(module: torch.nn.Module) -> dict[str, Any]:
    """The slots of a module that lacks some in its `__dict__`, read through its attributes where it has them."""
    slots: dict[str, Any] = {}
    for slot, default in _EMPTY_SLOTS.items():
        value = getattr(module, slot, default)
        slots[slot] = dict(value.items()) if slot in ("_modules", "_parameters", "_buffers") else value
    return slots
