"""Walks a module tree once and records it in columns.

Speed comes from the layout of memory, not from cleverness: modules are visited in chunks of a few hundred, and all
that is wanted of a chunk is read while it is in the processor's cache. Names, classes and tuples of child names are
interned, paths are never built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch

from peftviz.core.preorder import preorder_positions
from peftviz.core.tables import IntArray, ModuleFlag
from peftviz.live.identity import IdentityRegistry
from peftviz.live.interning import Interner
from peftviz.live.module_state import StateInterner, hooks_json, to_json
from peftviz.live.peft_facts import is_peft_class
from peftviz.live.tensors import TensorRecorder

CHUNK = 256

_EMPTY_SLOTS = {**vars(torch.nn.Module()), "training": False}


@dataclass
class Walk:
    """What one walk recorded; module columns are in preorder.

    Attributes:
        parent, name, flags, state, hooks, identity: Columns as in `ModuleTable`.
        cls: Code into `types` by module row.
        alias_rows, alias_targets: As in `ModuleTable`.
        names: Interned attribute names.
        types: Interned classes.
        states: Interned module states.
        hook_lists: Interned hook lists.
        registries: Row and object of each module that holds a config registry.
        tensors: Recorder of the tensors, its owners already rows in preorder.
    """

    parent: IntArray
    name: IntArray
    cls: IntArray
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


def walk(model: torch.nn.Module, registry: IdentityRegistry, *, values: str) -> Walk:
    """Records the tree of a model.

    Args:
        model: Root of the tree. It is read, never called and never changed.
        registry: Source of the serial numbers.
        values: `"off"`, `"sample"` or `"full"`: how tensor values are fingerprinted.
    """
    walker = _Walker(registry, values=values)
    walker.visit(model)
    return walker.in_preorder()


class _Walker:
    """Records in the order of visiting: chunk by chunk, children after their parents."""

    def __init__(self, registry: IdentityRegistry, *, values: str) -> None:
        self.names: Interner[str] = Interner([""])
        self.types: Interner[type] = Interner()
        self.states = StateInterner()
        self.hook_lists: Interner[str] = Interner([""])
        self.tensors = TensorRecorder(self.names, registry, values=values)
        self._registry = registry
        self._peft_codes: set[int] = set()
        self._classes_judged = 0
        self._key_tuples: Interner[tuple[str, ...]] = Interner()
        self._names_of_tuple: list[IntArray] = []
        self._met: set[int] = set()  # serial numbers
        self._count = 0
        self._parents: list[IntArray] = []
        self._names: list[IntArray] = []
        self._types: list[IntArray] = []
        self._training: list[IntArray] = []
        self._identities: list[IntArray] = []
        self._state_of: dict[int, int] = {}
        self._hooks_of: dict[int, int] = {}
        self._aliases: dict[int, int] = {}
        self._registries: list[tuple[int, torch.nn.Module]] = []

    def visit(self, model: torch.nn.Module) -> None:
        """Visits the whole tree."""
        stack: list[tuple[list[Any], IntArray, IntArray]] = [([model], np.array([-1]), np.array([0]))]
        while stack:
            chunk, parents, names = stack.pop()
            if None in chunk:
                present = [index for index, module in enumerate(chunk) if module is not None]
                chunk, parents, names = [chunk[index] for index in present], parents[present], names[present]
            base = self._count
            self._parents.append(parents)
            self._names.append(names)
            children = self._read(chunk)
            kids = list(chain.from_iterable([child.values() for child in children]))
            if not kids:
                continue
            kid_parents = np.repeat(np.arange(base, self._count), list(map(len, children)))
            kid_names = self._child_names(children)
            for start in reversed(range(0, len(kids), CHUNK)):
                stop = start + CHUNK
                stack.append((kids[start:stop], kid_parents[start:stop], kid_names[start:stop]))

    def _read(self, chunk: list[torch.nn.Module]) -> list[Mapping[str, torch.nn.Module]]:
        """Records one chunk of modules and returns the children of each."""
        base = self._count
        self._count += len(chunk)
        types = self.types
        codes = [types[type(module)] for module in chunk]
        serials = self._registry.serials(chunk)
        dicts: list[Mapping[str, Any]] = [module.__dict__ for module in chunk]
        self._met.update(serials)
        if len(self._met) + len(self._aliases) < self._count:
            dicts = self._without_aliases(base, serials, dicts)
        try:
            hooked = _hooked(dicts)
            training = [slots["training"] for slots in dicts]
        except KeyError:  # a module that keeps its slots elsewhere, such as a ScriptModule
            dicts = [
                slots if base + index in self._aliases else _slots_of(chunk[index]) for index, slots in enumerate(dicts)
            ]
            hooked = _hooked(dicts)
            training = [slots["training"] for slots in dicts]
        self._types.append(np.array(codes, np.int32))
        self._training.append(np.array(training, bool))
        self._identities.append(np.array(serials, np.int64))
        for index in hooked:
            if text := hooks_json(dicts[index]):
                self._hooks_of[base + index] = self.hook_lists[text]
        self._read_adapter_state(base, chunk, codes, dicts)
        self.tensors.add(base, dicts)
        return [slots["_modules"] for slots in dicts]

    def _read_adapter_state(
        self, base: int, chunk: list[torch.nn.Module], codes: list[int], dicts: list[Mapping[str, Any]]
    ) -> None:
        if len(self.types) > self._classes_judged:
            self._peft_codes = {code for cls, code in self.types.items() if is_peft_class(cls)}
            self._classes_judged = len(self.types)
        peft = self._peft_codes
        for index in [index for index, code in enumerate(codes) if code in peft]:
            self._state_of[base + index] = self.states.code(dicts[index])
        for index in [index for index, slots in enumerate(dicts) if "peft_config" in slots or "_peft_config" in slots]:
            self._registries.append((base + index, chunk[index]))
            if codes[index] not in peft:
                own = {key: value for key, value in dicts[index].items() if "peft" in key}
                self._state_of[base + index] = self.states.texts[to_json(own)]

    def _without_aliases(
        self, base: int, serials: list[int], dicts: list[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Empties the slots of modules met before: they are expanded once only, which also ends cycles."""
        kept = []
        first_record: dict[int, int] = {}
        for record, serial in enumerate(chain.from_iterable(column.tolist() for column in self._identities)):
            first_record.setdefault(serial, record)
        for record, (serial, slots) in enumerate(zip(serials, dicts, strict=True), base):
            first = first_record.setdefault(serial, record)
            if first != record:
                self._aliases[record] = first
                slots = {**_EMPTY_SLOTS, "training": slots.get("training", False)}
            kept.append(slots)
        return kept

    def _child_names(self, children: list[Mapping[str, torch.nn.Module]]) -> IntArray:
        """Name codes of all children; modules alike have the same tuple of child names, interned as a whole."""
        key_tuples = self._key_tuples
        codes = [key_tuples[tuple(child)] for child in children if child]
        for keys in islice(key_tuples, len(self._names_of_tuple), None):
            self._names_of_tuple.append(np.array([self.names[key] for key in keys], np.int32))
        return np.concatenate([self._names_of_tuple[code] for code in codes])

    def in_preorder(self) -> Walk:
        """The records, put in preorder."""
        parent = np.concatenate(self._parents)
        position = preorder_positions(parent)
        aliases = self._aliases
        if aliases:
            parent, position, aliases, moved = _expand_first(parent, position, aliases)
            self.tensors.move(moved)
        order = np.empty(self._count, np.int64)
        order[position] = np.arange(self._count)
        self.tensors.settle(position)

        alias_records = sorted(aliases, key=position.__getitem__)
        alias_rows = position[alias_records].astype(np.int64)
        alias_targets = position[[aliases[record] for record in alias_records]].astype(np.int64)
        kind = np.concatenate(self._types)[order]
        flags = np.where(np.concatenate(self._training)[order], int(ModuleFlag.TRAINING), 0)
        flags[np.isin(kind, list(self._peft_codes))] |= int(ModuleFlag.PEFT_CLASS)
        state = _scatter(self._state_of, self._count)[order]
        hooks = _scatter(self._hooks_of, self._count)[order]
        for column in (state, hooks):  # both rows are one object: what was read once holds for both
            column[alias_rows] = column[alias_targets] = np.maximum(column[alias_rows], column[alias_targets])
        ordered_parent = parent[order]
        return Walk(
            parent=np.where(ordered_parent < 0, -1, position[ordered_parent]),
            name=np.concatenate(self._names)[order],
            cls=kind,
            flags=flags,
            state=state,
            hooks=hooks,
            identity=np.concatenate(self._identities)[order],
            alias_rows=alias_rows,
            alias_targets=alias_targets,
            names=self.names,
            types=self.types,
            states=self.states,
            hook_lists=self.hook_lists,
            registries=[(int(position[record]), module) for record, module in self._registries],
            tensors=self.tensors,
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
    # A flag stands for the backward hooks: to look into each hook dictionary costs as much as the walk itself.
    return [
        index
        for index, slots in enumerate(dicts)
        if slots["_forward_hooks"]
        or slots["_forward_pre_hooks"]
        or slots["_is_full_backward_hook"] is not None
        or slots["_backward_pre_hooks"]
    ]


def _slots_of(module: torch.nn.Module) -> dict[str, Any]:
    """The slots of a module that lacks some in its `__dict__`, read through its attributes where it has them."""
    slots: dict[str, Any] = {}
    for slot, default in _EMPTY_SLOTS.items():
        value = getattr(module, slot, default)
        slots[slot] = dict(value.items()) if slot in ("_modules", "_parameters", "_buffers") else value
    return slots
