"""Walks a module tree once and records it in columns.

Speed comes from the layout of memory, not from cleverness: modules are visited level by level in chunks of a few
hundred, and all that is wanted of a chunk is read while it is in the processor's cache. Names and classes are interned,
paths are never built.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import compress

import numpy as np
import torch

from peftviz.core.preorder import level_positions, preorder_positions
from peftviz.core.tables import IntArray, ModuleFlag, compact, first_occurrence
from peftviz.live.peft_facts import is_peft_class
from peftviz.live.snapshots.chunks import Chunk, Entries, read_chunk
from peftviz.live.snapshots.identity import IdentityRegistry
from peftviz.live.snapshots.interning import Interner
from peftviz.live.snapshots.module_state import StateInterner, hooks_json, to_json
from peftviz.live.snapshots.tensors import TensorRecorder, drain

CHUNK = 512


@dataclass
class Walk:
    """What one walk recorded; module columns are in preorder.

    Attributes:
        parent, name, flags, state, hooks, identity: Columns as in `ModuleTable`.
        cls: Code into `types` by module row.
        alias_rows, alias_targets: As in `ModuleTable`.
        names: Interned attribute names.
        types: Classes that `cls` refers to.
        states: Interned module states.
        hook_lists: Interned hook lists.
        registries: Row and object of each module that holds a config registry.
        tensors: Recorder of the tensors, its owners already rows in preorder.
        values: `"off"`, `"sample"` or `"full"`: how tensor values were fingerprinted.
        model: The root.
        modules: The module of each row; empty unless they were kept.
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
    types: tuple[type, ...]
    states: StateInterner
    hook_lists: Interner[str]
    registries: list[tuple[int, torch.nn.Module]]
    tensors: TensorRecorder
    values: str
    model: torch.nn.Module
    modules: list[torch.nn.Module]


def walk(model: torch.nn.Module, registry: IdentityRegistry, *, values: str, keep: bool = False) -> Walk:
    """Records the tree of a model.

    Args:
        model: Root of the tree. It is read, never called and never changed.
        registry: Source of the serial numbers.
        values: `"off"`, `"sample"` or `"full"`: how tensor values are fingerprinted.
        keep: Whether modules and tensors themselves are wanted too: they live on then as long as the walk does.
    """
    walker = _Walker(registry, values=values, keep=keep)
    with torch._C.DisableTorchFunction():  # a tensor subclass or a mode must not turn a look into a computation
        walker.visit(model)
    return walker.in_preorder(model)


class _Walker:
    """Records in the order of visiting: level by level, children in the order of their parents."""

    def __init__(self, registry: IdentityRegistry, *, values: str, keep: bool) -> None:
        self.names: Interner[str] = Interner([""])
        self.types: Interner[type] = Interner()
        self.states = StateInterner()
        self.hook_lists: Interner[str] = Interner([""])
        self.tensors = TensorRecorder(registry, values=values, keep=keep)
        self._registry = registry
        self._values = values
        self._keep = keep
        self._modules: list[torch.nn.Module] = []
        self._of_peft = np.zeros(0, bool)  # by type
        self._met = np.zeros(0, bool)  # by serial number
        self._count = 0
        self._level_starts: list[int] = []
        self._parents: list[IntArray] = []
        self._names: list[IntArray] = []
        self._types: list[IntArray] = []
        self._training = bytearray()
        self._identities: list[IntArray] = []
        self._states_of: dict[int, int] = {}
        self._hooks_of: dict[int, int] = {}
        self._aliases: dict[int, int] = {}
        self._registries: list[tuple[int, torch.nn.Module]] = []

    def visit(self, model: torch.nn.Module) -> None:
        """Visits the whole tree."""
        level: list[torch.nn.Module] = [model]
        parents: IntArray = np.array([-1], np.int32)
        names: IntArray = np.array([0], np.int32)
        while level:
            base = self._count
            self._level_starts.append(base)
            self._parents.append(parents)
            self._names.append(names)
            below = _Children()
            ids = [self._read(level[start : start + CHUNK], below) for start in range(0, len(level), CHUNK)]
            if self._keep:
                self._modules += level
            self._meet(base, self._registry.serials(level, np.concatenate(ids)))
            level, parents, names = below.joined(self._aliases)

    def _read(self, modules: list[torch.nn.Module], below: _Children) -> IntArray:
        """Records one chunk of modules, collects their children, and gives the `id()` of each."""
        base = self._count
        chunk = read_chunk(modules, self.types, self.names)
        self._count += len(modules)
        self._types.append(chunk.types)
        self._training += chunk.training
        for index in chunk.hooked:
            if text := hooks_json(chunk.dicts[index]):
                self._hooks_of[base + index] = self.hook_lists[text]
        self._read_adapter_state(base, modules, chunk)
        below.add(base, chunk.children)
        self.tensors.add(base, chunk)
        return chunk.ids

    def _meet(self, base: int, identities: IntArray) -> None:
        """Notes the modules of a level, and which of them were met before: those are not expanded again."""
        self._identities.append(compact(identities, signed=True))
        highest = int(identities.max())
        if highest >= len(self._met):
            grown = np.zeros(2 * (highest + 1), bool)
            grown[: len(self._met)] = self._met
            self._met = grown
        ascending = np.sort(identities)
        if self._met[identities].any() or (ascending[1:] == ascending[:-1]).any():
            all_identities = np.concatenate(self._identities)
            first = first_occurrence(all_identities)
            self._aliases.update(
                (record, int(first[record])) for record in range(base, self._count) if first[record] != record
            )
        self._met[identities] = True

    def _read_adapter_state(self, base: int, modules: list[torch.nn.Module], chunk: Chunk) -> None:
        if len(self.types) > len(self._of_peft):
            self._of_peft = np.array([is_peft_class(cls) for cls in self.types], bool)
        of_peft = self._of_peft[chunk.types]
        if of_peft.any():
            codes = self.states.codes(list(compress(chunk.dicts, of_peft)))
            self._states_of.update(zip((np.flatnonzero(of_peft) + base).tolist(), codes, strict=True))
        for index in chunk.registered:
            self._registries.append((base + index, modules[index]))
            if not of_peft[index]:
                own = {key: value for key, value in chunk.dicts[index].items() if "peft" in key}
                self._states_of[base + index] = self.states.texts[to_json(own)]

    def in_preorder(self, model: torch.nn.Module) -> Walk:
        """The records, put in preorder."""
        parent = drain(self._parents)
        position = level_positions(parent, self._level_starts)
        aliases = self._aliases
        if aliases:
            parent, position, aliases = _expand_first(parent, position, aliases)
        self.tensors.settle(position, without=aliases)
        order = np.empty(self._count, np.int32)
        order[position] = np.arange(self._count, dtype=np.int32)
        alias_records = sorted(aliases, key=position.__getitem__)
        kind = drain(self._types)[order]
        flags = np.frombuffer(self._training, np.uint8)[order] * np.uint8(ModuleFlag.TRAINING)
        flags |= self._of_peft[kind] * np.uint8(ModuleFlag.PEFT_CLASS)
        ordered_parent = parent[order]
        ordered_parent[1:] = position[ordered_parent[1:]]
        return Walk(
            parent=ordered_parent,
            name=drain(self._names)[order],
            cls=kind,
            flags=flags,
            state=_scatter(self._states_of, position),
            hooks=_scatter(self._hooks_of, position),
            identity=drain(self._identities)[order],
            alias_rows=position[alias_records],
            alias_targets=position[[aliases[record] for record in alias_records]],
            names=self.names,
            types=tuple(self.types),
            states=self.states,
            hook_lists=self.hook_lists,
            registries=[
                (int(position[record]), module) for record, module in self._registries if record not in aliases
            ],
            tensors=self.tensors,
            values=self._values,
            model=model,
            modules=list(map(self._modules.__getitem__, order.tolist())) if self._keep else [],
        )


class _Children:
    """The children of a level of modules: themselves, the records of their parents, the codes of their names."""

    def __init__(self) -> None:
        self._modules: list[torch.nn.Module] = []
        self._parents: list[IntArray] = []
        self._names: list[IntArray] = []

    def add(self, base: int, children: Entries) -> None:
        """Adds the children of a chunk whose first record is `base`."""
        if children.values:
            self._modules += children.values
            self._parents.append(children.owners + np.int32(base))
            self._names.append(children.names)

    def joined(self, closed: Collection[int]) -> tuple[list[torch.nn.Module], IntArray, IntArray]:
        """The three as one list and two columns, without the children of the records that are closed."""
        if not self._modules:
            return [], np.zeros(0, np.int32), np.zeros(0, np.int32)
        parents, names = drain(self._parents), drain(self._names)
        if closed:
            kept = ~np.isin(parents, list(closed))
            return list(compress(self._modules, kept)), parents[kept], names[kept]
        return self._modules, parents, names


def _expand_first(
    parent: IntArray, position: IntArray, aliases: dict[int, int]
) -> tuple[IntArray, IntArray, dict[int, int]]:
    """Lets each shared module be expanded at its first occurrence in preorder, as PyTorch's own walks do.

    The walk met the occurrence nearest to the root first, which may come later in preorder.

    Returns:
        New parents, positions and aliases.
    """
    aliases = dict(aliases)
    while late := [alias for alias, first in aliases.items() if position[alias] < position[first]]:
        alias = min(late, key=position.__getitem__)
        first = aliases.pop(alias)
        parent = np.where(parent == first, alias, parent)
        aliases = {record: alias if target == first else target for record, target in aliases.items()} | {first: alias}
        position = preorder_positions(parent)
    return parent, position, aliases


def _scatter(values: dict[int, int], position: IntArray) -> IntArray:
    column = np.zeros(len(position), np.int32)
    if values:
        column[position[list(values)]] = list(values.values())
    return column
