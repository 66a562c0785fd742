"""The tensors that a deletion removes, in containers and out of them."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from peftviz.live.peft_facts import WEIGHER, experts_of
from peftviz.live.removal.adaption import Swap, own_parameters
from peftviz.live.removal.keeping import plain_tensors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from peftviz.core.tables import BoolArray, IntArray
    from peftviz.live.removal.survey import Holder, Survey

_BARE = frozenset({bool, int, float, str, type(None)})
"""What the dictionaries by adapter of a layer mostly hold: no tensors in them."""

Doomed = tuple[int, str, torch.Tensor]
"""Row of a module, path from there, the tensor."""


def doomed_in_containers(
    survey: Survey, names: frozenset[str], kept: Mapping[int, torch.nn.Module]
) -> tuple[list[int], list[Doomed]]:
    """Tensors that go with the names: all below their entries in containers, unless they live elsewhere too.

    A tensor that another adapter holds too, as the projections of VeRA, stays.

    Returns:
        Rows of the tensors, and the tensors, each once.
    """
    tree, walk = survey.tree, survey.tree.walk
    codes = [walk.names[name] for name in names if name in walk.names]
    is_container = np.zeros(len(tree.modules), bool)
    is_container[[container.row for container in survey.containers]] = True
    parent = np.maximum(walk.parent, 0)
    goes = is_container[parent] & np.isin(walk.name, codes)
    goes[0] = False
    goes = _with_all_below(goes, parent)
    for row, target in zip(walk.alias_rows.tolist(), walk.alias_targets.tolist(), strict=True):
        if goes[target] and not goes[row]:  # a module that lives elsewhere too
            stays = np.zeros(len(goes), bool)
            stays[target] = True
            goes &= ~_with_all_below(stays, parent)
    tensors = walk.tensors
    going = goes[tensors.owner] | (is_container[tensors.owner] & np.isin(tensors.name, codes))
    seen = {id(tensor) for module in kept.values() for tensor in plain_tensors(module)}
    seen.update(map(id, compress(tensors.objects, ~going)))
    rows = np.flatnonzero(going)
    first: dict[int, int] = {}
    for row in rows.tolist():
        first.setdefault(id(tensors.objects[row]), row)
    chosen = [row for mark, row in first.items() if mark not in seen]
    owners, words = tensors.owner[chosen].tolist(), list(walk.names)
    named = list(map(words.__getitem__, tensors.name[chosen].tolist()))
    return chosen, list(zip(owners, named, map(tensors.objects.__getitem__, chosen), strict=True))


def _with_all_below(marked: BoolArray, parent: IntArray) -> BoolArray:
    while not np.array_equal(marked, further := marked | marked[parent]):
        marked = further
    return marked


def doomed_outside(survey: Survey, names: frozenset[str], swapped: list[Swap]) -> Iterator[Doomed]:
    """Tensors that go with the names and lie in no container: in dictionaries by adapter, or swapped into the tree."""
    for swap in swapped:
        for _, name, replacement in swap.leaving:
            for inner, parameter in own_parameters(replacement).items():
                yield swap.holder.row, f"{name}.{inner}", parameter
    for holder in weighers(survey, names):
        for path, parameter in vars(holder.module)["_modules"][WEIGHER].named_parameters():
            yield holder.row, f"{WEIGHER}.{path}", parameter
    seen: set[int] = set()
    for alike in survey.alike:
        attributes = alike.may_hold_tensors(names)
        for holder in alike.holders if attributes else ():
            for attribute in attributes:
                value = vars(holder.module)[attribute]
                if type(value) is not dict or names.isdisjoint(value):
                    continue
                for name in names.intersection(value):
                    if type(value[name]) in _BARE:
                        continue
                    seen = seen or set(map(id, survey.parameters))
                    for path, tensor in _tensors_in(value[name], name):
                        if id(tensor) not in seen:
                            seen.add(id(tensor))
                            yield holder.row, f"{attribute}.{path}", tensor


def weighers(survey: Survey, names: Collection[str]) -> list[Holder]:
    """Tuners that weigh experts which go."""
    if not any(experts_of(config) for name, config in survey.configs.items() if name in names):
        return []
    return [holder for holder in survey.handles if WEIGHER in vars(holder.module)["_modules"]]


def _tensors_in(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors that a value of a dictionary by adapter holds: itself, in lists, in modules."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, torch.nn.Module):
        for name, tensor in (*value.named_parameters(), *value.named_buffers()):
            yield f"{path}.{name}", tensor
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _tensors_in(item, f"{path}.{index}")
