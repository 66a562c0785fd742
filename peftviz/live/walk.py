"""Walks a module tree once and records it in columns.

Speed comes from the layout of memory, not from cleverness: modules are visited in chunks of a few hundred, and all
that is wanted of a chunk is read while it is in the processor's cache, by loops that run in C. Names and classes are
interned, paths are never built.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import torch

from peftviz.core.preorder import preorder_positions
from peftviz.core.tables import IntArray, ModuleFlag
from peftviz.live.identity import IdentityRegistry
from peftviz.live.interning import Interner
from peftviz.live.module_state import StateInterner, hooks_json, to_json
from peftviz.live.peft_facts import REGISTRY_ATTRIBUTES, is_peft_class
from peftviz.live.tensors import TensorRecorder, column

CHUNK = 384

_EMPTY_SLOTS = {**vars(torch.nn.Module()), "training": False}

_slots = attrgetter("__dict__")
# A flag stands for the backward hooks: to look into each hook dictionary costs as much as the walk itself.
_fields = itemgetter(
    *("training", "_modules", "_parameters", "_buffers"),
    *("_forward_hooks", "_forward_pre_hooks", "_backward_pre_hooks", "_is_full_backward_hook"),
)


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
        self._met = np.zeros(0, bool)  # by serial number
        self._count = 0
        self._parents: list[IntArray] = []
        self._names: list[IntArray] = []
        self._types = array("i")
        self._training = array("B")
        self._identities: list[IntArray] = []
        self._states = array("i")
        self._hooks_of: dict[int, int] = {}
        self._aliases: dict[int, int] = {}
        self._registries: list[tuple[int, torch.nn.Module]] = []

    def visit(self, model: torch.nn.Module) -> None:
        """Visits the whole tree."""
        stack: list[tuple[list[Any], IntArray, IntArray]] = [
            ([model], np.array([-1], np.int32), np.array([0], np.int32))
        ]
        name_code = self.names.__getitem__
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
            kid_parents = np.repeat(np.arange(base, self._count, dtype=np.int32), list(map(len, children)))
            kid_names = np.array(list(map(name_code, chain.from_iterable(children))), np.int32)
            for start in reversed(range(0, len(kids), CHUNK)):
                stop = start + CHUNK
                stack.append((kids[start:stop], kid_parents[start:stop], kid_names[start:stop]))

    def _read(self, chunk: list[torch.nn.Module]) -> Sequence[Mapping[str, torch.nn.Module]]:
        """Records one chunk of modules and returns the children of each."""
        if not chunk:
            return ()
        base = self._count
        self._count += len(chunk)
        codes = list(map(self.types.__getitem__, map(type, chunk)))
        serials = self._registry.serials(chunk)
        identities = np.array(serials, np.int64)
        dicts: list[Mapping[str, Any]] = list(map(_slots, chunk))
        if self._meet(serials, identities):
            dicts = self._without_aliases(base, serials, dicts)
        try:
            fields = list(map(_fields, dicts))
        except KeyError:  # a module that keeps its slots elsewhere, such as a ScriptModule
            dicts = [
                slots if base + index in self._aliases else _slots_of(chunk[index]) for index, slots in enumerate(dicts)
            ]
            fields = list(map(_fields, dicts))
        training, children, parameters, buffers, forward, forward_pre, backward_pre, full_backward = zip(
            *fields, strict=True
        )
        self._types.extend(codes)
        self._training.extend(map(bool, training))
        self._identities.append(identities)
        if any(forward) or any(forward_pre) or any(backward_pre) or full_backward.count(None) < len(chunk):
            hooks = zip(forward, forward_pre, backward_pre, full_backward, strict=True)
            for index, (before, after, backward, flag) in enumerate(hooks):
                if (before or after or backward or flag is not None) and (text := hooks_json(dicts[index])):
                    self._hooks_of[base + index] = self.hook_lists[text]
        self._read_adapter_state(base, chunk, codes, dicts, children)
        self.tensors.add(base, dicts, parameters, buffers)
        return children

    def _meet(self, serials: list[int], identities: IntArray) -> bool:
        """Notes the modules of a chunk, and says whether one of them was met before."""
        highest = max(serials)
        if highest >= len(self._met):
            grown = np.zeros(2 * (highest + 1), bool)
            grown[: len(self._met)] = self._met
            self._met = grown
        again = bool(self._met[identities].any()) or len(set(serials)) < len(serials)
        self._met[identities] = True
        return again

    def _read_adapter_state(
        self,
        base: int,
        chunk: list[torch.nn.Module],
        codes: list[int],
        dicts: list[Mapping[str, Any]],
        children: Sequence[Mapping[str, torch.nn.Module]],
    ) -> None:
        if len(self.types) > self._classes_judged:
            self._peft_codes = {code for cls, code in self.types.items() if is_peft_class(cls)}
            self._classes_judged = len(self.types)
        peft = self._peft_codes
        code_of_state = self.states.code
        if peft.isdisjoint(codes):
            states = [0] * len(codes)
        else:
            states = [code_of_state(slots) if code in peft else 0 for code, slots in zip(codes, dicts, strict=True)]
        parents = compress(range(len(chunk)), children)  # no leaf holds a registry
        inner, outer = REGISTRY_ATTRIBUTES
        for index in [index for index in parents if inner in dicts[index] or outer in dicts[index]]:
            self._registries.append((base + index, chunk[index]))
            if codes[index] not in peft:
                own = {key: value for key, value in dicts[index].items() if "peft" in key}
                states[index] = self.states.texts[to_json(own)]
        self._states.extend(states)

    def _without_aliases(
        self, base: int, serials: list[int], dicts: list[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        """Empties the slots of modules met before: they are expanded once only, which also ends cycles."""
        kept = []
        first_record: dict[int, int] = {}
        for record, serial in enumerate(chain.from_iterable(chunk.tolist() for chunk in self._identities)):
            first_record.setdefault(serial, record)
        for record, (serial, slots) in enumerate(zip(serials, dicts, strict=True), base):
            first = first_record.setdefault(serial, record)
            if first != record:
                self._aliases[record] = first
                slots = {**_EMPTY_SLOTS, "training": slots.get("training", False)}
            kept.append(slots)
        return kept

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
        kind = column(self._types)[order]
        flags = column(self._training)[order] * np.uint8(ModuleFlag.TRAINING)
        flags[np.isin(kind, list(self._peft_codes))] |= np.uint8(ModuleFlag.PEFT_CLASS)
        state = column(self._states)[order]
        hooks = _scatter(self._hooks_of, self._count)[order]
        for codes in (state, hooks):  # both rows are one object: what was read once holds for both
            codes[alias_rows] = codes[alias_targets] = np.maximum(codes[alias_rows], codes[alias_targets])
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


def _slots_of(module: torch.nn.Module) -> dict[str, Any]:
    """The slots of a module that lacks some in its `__dict__`, read through its attributes where it has them."""
    slots: dict[str, Any] = {}
    for slot, default in _EMPTY_SLOTS.items():
        value = getattr(module, slot, default)
        slots[slot] = dict(value.items()) if slot in ("_modules", "_parameters", "_buffers") else value
    return slots
