"""One fast walk of a live model, in chunks and by loops that run in C; it looks closer at PEFT's modules only."""

from __future__ import annotations

from itertools import chain, compress
from operator import attrgetter, itemgetter, methodcaller
from typing import TYPE_CHECKING, Any

import numpy as np

from peftviz.core.paths import Paths
from peftviz.core.preorder import preorder_positions
from peftviz.live.peft_facts import is_peft_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

CHUNK = 512

_slots = attrgetter("__dict__")
_modules = itemgetter("_modules")
_parameters = itemgetter("_parameters")
_hooks = itemgetter("_forward_hooks")
_pre_hooks = itemgetter("_forward_pre_hooks")
_values = methodcaller("values")


class Tree:
    """Modules of a model by record; a module met again is recorded again, and expanded once.

    Attributes:
        modules: The module of each record.
        parents: Record of its parent, -1 for the root.
        names: Its name there.
        paths: Path of each record.
        position: Place of each record in preorder.
        peft: Records of PEFT's modules in preorder.
        again: Those of them that were met before.
        hooked: Records of modules with forward hooks, in preorder.
        registered: Records of modules that have an attribute `peft_config` and are not PEFT's, in preorder.
        parameters: Every parameter once.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.modules: list[torch.nn.Module] = []
        self.parents: list[int] = []
        self.peft: list[int] = []
        self.again: set[int] = set()
        self.hooked: list[int] = []
        self.registered: list[int] = []
        self.names: list[str] = []
        self._tensors: list[torch.nn.Parameter | None] = []
        self._seen: set[int] = set()
        self._judged: set[type] = set()
        self._of_peft: set[type] = set()
        self._walk(model)
        self.parameters = list({id(item): item for item in self._tensors if item is not None}.values())
        self.paths = Paths(self.parents, self.names)
        self._sort()

    def _walk(self, model: torch.nn.Module) -> None:
        stack: list[tuple[list[Any], list[int], list[str]]] = [([model], [-1], [""])]
        while stack:
            chunk, parents, names = stack.pop()
            if None in chunk:
                present = [index for index, module in enumerate(chunk) if module is not None]
                chunk = [chunk[index] for index in present]
                parents = [parents[index] for index in present]
                names = [names[index] for index in present]
            rows: Sequence[int] = range(len(self.modules), len(self.modules) + len(chunk))
            self.modules += chunk
            self.parents += parents
            self.names += names
            rows, children = self._read(rows, chunk)
            kids = list(chain.from_iterable(map(_values, children)))
            if not kids:
                continue
            kid_names = list(chain.from_iterable(children))
            kid_parents = [row for row, child in zip(rows, children, strict=True) for _ in child]
            for start in reversed(range(0, len(kids), CHUNK)):
                stop = start + CHUNK
                stack.append((kids[start:stop], kid_parents[start:stop], kid_names[start:stop]))

    def _read(
        self, rows: Sequence[int], chunk: list[torch.nn.Module]
    ) -> tuple[Sequence[int], Sequence[Mapping[str, Any]]]:
        """Reads a chunk; gives the records that were met for the first time, and their children."""
        classes = list(map(type, chunk))
        kinds = set(classes)
        if not kinds <= self._judged:
            self._of_peft.update(cls for cls in kinds - self._judged if is_peft_class(cls))
            self._judged |= kinds
        if not self._of_peft.isdisjoint(kinds):
            self.peft += [row for row, cls in zip(rows, classes, strict=True) if cls in self._of_peft]
        marks = list(map(id, chunk))
        distinct = set(marks)
        if len(distinct) < len(chunk) or not self._seen.isdisjoint(distinct):
            fresh = []
            for index, mark in enumerate(marks):
                if mark in self._seen:
                    self.again.add(rows[index])
                else:
                    self._seen.add(mark)
                    fresh.append(index)
            rows, chunk = [rows[index] for index in fresh], [chunk[index] for index in fresh]
        else:
            self._seen |= distinct
        if not chunk:
            return (), ()
        slots: list[Mapping[str, Any]] = list(map(_slots, chunk))
        try:
            children = list(map(_modules, slots))
        except KeyError:  # a module that keeps its slots elsewhere, such as a ScriptModule
            slots = list(map(_slots_of, chunk))
            children = list(map(_modules, slots))
        self._tensors += chain.from_iterable([own.values() for own in map(_parameters, slots) if own])
        if any(map(_hooks, slots)) or any(map(_pre_hooks, slots)):
            self.hooked += [row for row, own in zip(rows, slots, strict=True) if _hooks(own) or _pre_hooks(own)]
        for row, own in compress(zip(rows, slots, strict=True), children):  # no leaf holds a registry
            if "peft_config" in own and type(self.modules[row]) not in self._of_peft:
                self.registered.append(row)
        return rows, children

    def _sort(self) -> None:
        self.position = preorder_positions(np.array(self.parents, np.int32))
        for rows in (self.peft, self.hooked, self.registered):
            found = np.array(rows, np.int64)
            rows[:] = found[np.argsort(self.position[found])].tolist()


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
