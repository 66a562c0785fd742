"""The tensors that a deletion removes, in containers and out of them."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch

from peftviz.live.peft_facts import WEIGHER, experts_of
from peftviz.live.removal.adaption import Swap, own_parameters
from peftviz.live.removal.keeping import plain_tensors
from peftviz.live.removal.survey import Container, Holder, Survey
from peftviz.live.removal.sweep import searched

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_stores = itemgetter("_modules", "_parameters", "_buffers")
_BARE = frozenset({bool, int, float, str, type(None)})
"""What the dictionaries by adapter of a layer mostly hold: no tensors in them."""


def doomed_in_containers(
    survey: Survey, names: frozenset[str], kept: Mapping[int, torch.nn.Module]
) -> Iterator[tuple[Container, str, torch.Tensor]]:
    """Tensors that go with the names: the container that holds each, its path from there, the tensor.

    A tensor that another adapter holds too, as the projections of VeRA, stays.
    """
    seen = {id(tensor) for module in kept.values() for tensor in plain_tensors(module)}
    for container in survey.containers:
        if names.isdisjoint(container.keys):
            continue
        inner_modules, parameters, buffers = _stores(container.module.__dict__)
        if parameters or buffers:
            own_tensors = {**parameters, **buffers}
            seen.update(id(tensor) for key, tensor in own_tensors.items() if key not in names)
        for name in filter(names.__contains__, container.keys):
            module = inner_modules.get(name)
            tensors: dict[str, torch.Tensor | None]
            if module is None:
                own = parameters.get(name, buffers.get(name))
                tensors = {"": own} if isinstance(own, torch.Tensor) else {}
            else:
                inside = module.__dict__
                if inside.get("_modules", True):
                    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
                else:  # a leaf is read directly, which is much faster
                    own, left_out = inside["_parameters"], inside["_buffers"]
                    tensors = {**own, **left_out} if left_out else own
            for inner, tensor in tensors.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield container, f"{name}.{inner}" if inner else name, tensor


def doomed_outside(
    survey: Survey, names: frozenset[str], swapped: list[Swap]
) -> Iterator[tuple[Container, str, torch.Tensor]]:
    """Tensors that go with the names and lie in no container: in dictionaries by adapter, or swapped into the tree."""
    for swap in swapped:
        for parent, name, replacement in swap.leaving:
            at = Container(parent, swap.holder, name, (), False)
            for inner, parameter in own_parameters(replacement).items():
                yield at, inner, parameter
    for holder in weighers(survey, names):
        weigher = vars(holder.module)["_modules"][WEIGHER]
        at = Container(weigher, holder, WEIGHER, (), False)
        for path, parameter in weigher.named_parameters():
            yield at, path, parameter
    seen: set[int] = set()
    for holder in survey.holders:
        slots = vars(holder.module)
        for attribute in searched(tuple(slots), tuple(map(type, slots.values()))):
            value = slots[attribute]
            if type(value) is not dict or names.isdisjoint(value):
                continue
            for name in names.intersection(value):
                if type(value[name]) in _BARE:
                    continue
                seen = seen or set(map(id, survey.parameters))
                for path, tensor in _tensors_in(value[name], name):
                    if id(tensor) not in seen:
                        seen.add(id(tensor))
                        yield Container(holder.module, holder, attribute, (), False), path, tensor


def weighers(survey: Survey, names: Collection[str]) -> list[Holder]:
    """Tuners that weigh experts which go."""
    if not any(experts_of(config) for name, config in survey.configs.items() if name in names):
        return []
    return [holder for holder in survey.holders if WEIGHER in vars(holder.module)["_modules"]]


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
