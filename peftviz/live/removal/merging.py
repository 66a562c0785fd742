"""Writes active adapters into the base weights, or takes merged ones out of them, by PEFT's own layers and undoably."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from peftviz.errors import AdapterError
from peftviz.live.peft_facts import (
    MERGE_CHECK,
    MERGED_OF_LAYER,
    PROMPT_LEARNING,
    SAVED_CONTAINER,
    handle_kind,
    is_auxiliary_wrapper,
    is_peft_class,
    is_peft_function,
    is_tuner_layer,
)
from peftviz.live.removal.activity import Activity, active_of, was_switched_off
from peftviz.live.removal.survey import Holder, Survey, wrapped_module
from peftviz.live.removal.sweep import as_list
from peftviz.live.removal.unwrap import adapters_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from peftviz.live.removal.journal import Journal

Place = tuple[dict[str, Any], str]
"""The `_parameters` of a module, and a name in it."""


@dataclass
class Merging:
    """Which layers are to take in which adapters.

    Attributes:
        layers: Layers in the order in which they merge, each with the adapters that it takes in.
        copies: Trained copies that take the place of the module a wrapper wraps, by `id` of the wrapper.
    """

    layers: list[tuple[Holder, list[str]]] = field(default_factory=list)
    copies: dict[int, torch.nn.Module] = field(default_factory=dict)


def plan_merging(survey: Survey, activity: Activity) -> Merging:
    """Finds what has to be merged so that the base computes what the model computes with its active adapters.

    Raises:
        AdapterError: No adapter is active, or one of them cannot be merged.
    """
    active = activity.before
    if not active:
        raise AdapterError(
            "No adapter is active, so there is nothing to merge.",
            where=f"{survey.kind} model {type(survey.model).__name__}",
            hint="Make one active with set_adapter first, or unload without merge=True.",
        )
    found = Merging()
    reached: set[str] = set()
    known = set(survey.names)
    for holder in survey.holders:
        module = holder.module
        if is_auxiliary_wrapper(type(module)):
            copies = vars(module)["_modules"].get(SAVED_CONTAINER)
            for name in active_of(module)[:1] if copies is not None else ():
                copy = vars(copies)["_modules"].get(name)
                if copy is not None and not was_switched_off(module, activity):
                    found.copies[id(module)] = copy
                    reached.add(name)
        elif is_tuner_layer(type(module)):
            wrapper = survey.followers.get(id(module))
            if wrapper is not None and (not active_of(wrapper) or was_switched_off(wrapper, activity)):
                continue  # trained tokens that the wrapper does not let act, whatever their layer has noted
            held = adapters_on(module, known, survey.shared)
            names = [name for name in active_of(module) if name in held]
            reached.update(names)
            if names:
                _check_layer(holder)
                found.layers.append((holder, names))
    for name in active:
        config = survey.configs.get(name)
        if name not in reached or (config is not None and getattr(config, PROMPT_LEARNING, False)):
            raise AdapterError(
                f"Adapter {name!r} does not change weights alone: it cannot be merged.",
                where=f"its method, {type(config).__name__.removesuffix('Config')}" if config is not None else "",
                hint="Unload it without merge=True to have the base model back.",
            )
    for holder in survey.holders:
        if handle_kind(holder.module) == "tuner":
            _check_tuner(holder, active)
    found.layers = _inner_first(found.layers)
    return found


def _check_layer(holder: Holder) -> None:
    if is_peft_function(vars(holder.module).get("forward")):
        raise AdapterError(
            "This layer cannot be merged: its adapters are mixed anew for each input.",
            where=holder.path,
            hint="Unload without merge=True to have the base model back.",
        )
    base = _base_of_layer(holder.module)
    for name, tensor in vars(base)["_parameters"].items() if base is not None else ():
        if tensor is not None and tensor.is_meta and OFFLOADING in vars(base):
            raise AdapterError(
                "This layer's weights are offloaded: merging them could not be undone if it failed.",
                where=f"{holder.path}.{name}",
                hint="Load the model without offloading, then merge.",
            )


def _check_tuner(holder: Holder, active: Sequence[str]) -> None:
    """Asks the tuner whether its model may be merged; some forbid it for the base model's sake."""
    check = getattr(type(holder.module), MERGE_CHECK, None)
    if check is None:
        return
    try:
        check(holder.module)
    except (ValueError, NotImplementedError) as error:
        raise _refusal(holder, active, error) from error


def _refusal(holder: Holder, names: Sequence[str], error: Exception) -> AdapterError:
    said = f" PEFT says: {error}" if str(error) else ""
    return AdapterError(
        f"{type(holder.module).__name__} cannot merge {', '.join(map(repr, names))}.{said}",
        where=holder.path or "the model",
        hint="The model is as it was. Unload without merge=True to have the base model back.",
    )


def _inner_first(layers: list[tuple[Holder, list[str]]]) -> list[tuple[Holder, list[str]]]:
    """Of layers that wrap each other the innermost merges first: the outer ones see its result in their forward."""
    by_module = {id(holder.module): (holder, names) for holder, names in layers}
    wrapped = {id(inner) for holder, _ in layers if (inner := _directly_wrapped(holder.module)) is not None}
    ordered: list[tuple[Holder, list[str]]] = []
    for holder, names in layers:
        if id(holder.module) in wrapped:
            continue  # its turn comes with the outermost
        chain = [(holder, names)]
        inner = _directly_wrapped(holder.module)
        while inner is not None and is_tuner_layer(type(inner)):
            if id(inner) in by_module:
                chain.append(by_module[id(inner)])
            inner = _directly_wrapped(inner)
        ordered += reversed(chain)
    return ordered


def _directly_wrapped(layer: torch.nn.Module) -> torch.nn.Module | None:
    module: torch.nn.Module | None = vars(layer)["_modules"].get("base_layer")
    return module


class Weights:
    """The base weights that merging changes: protects them, gives shared ones to one layer alone, shares them again.

    Merging at one place must not change another that shares the weight, such as a tied head.
    """

    def __init__(self, survey: Survey, layers: Sequence[Holder], journal: Journal) -> None:
        self._journal = journal
        self._bases: dict[int, torch.nn.Module] = {}
        self._before: list[tuple[torch.nn.Module, list[tuple[str, torch.nn.Parameter | None]]]] = []
        self._finite: list[tuple[str, torch.nn.Module, str]] = []
        self._groups: dict[int, tuple[torch.nn.Parameter, list[Place]]] = {}
        for holder in layers:
            base = _base_of_layer(holder.module)
            if base is not None:
                self._bases.setdefault(id(base), base)
        self._part_shared(survey)
        protected: set[int] = set()
        for holder in layers:
            self._protect(holder, protected)

    def _part_shared(self, survey: Survey) -> None:
        """Gives each layer its own copy of a weight that it shares with another module."""
        places: dict[int, list[Place]] = {}
        own: dict[int, torch.nn.Parameter] = {}
        modules = {id(module): module for module in survey.tree.modules}
        for module in modules.values():
            for name, tensor in vars(module)["_parameters"].items():
                if tensor is not None:
                    places.setdefault(id(tensor), []).append((vars(module)["_parameters"], name))
                    own[id(tensor)] = tensor
        for base in self._bases.values():
            for module in modules_below(base):
                slots = vars(module)["_parameters"]
                for name, tensor in slots.items():
                    key = id(tensor)
                    if tensor is not None and len(places.get(key, ())) > 1:
                        self._groups[key] = (own[key], places[key])
                        copy = torch.nn.Parameter(tensor.detach().clone(), requires_grad=tensor.requires_grad)
                        self._journal.set_item(slots, name, copy)

    def _protect(self, holder: Holder, protected: set[int]) -> None:
        """Notes everything below a layer that its merge may replace, and copies the base weights."""
        for module in modules_below(holder.module):
            if id(module) in protected:
                continue
            protected.add(id(module))
            slots = vars(module)
            for key in ("_modules", "_parameters", "_buffers"):
                self._journal.protect_items(slots[key])
            self._journal.protect_items(slots)
            for key, value in list(slots.items()):
                if key not in _MODULE_SLOTS and type(value) in (list, set, dict):
                    self._journal.set_item(slots, key, value.copy())
        base = _base_of_layer(holder.module)
        for module in modules_below(base) if base is not None else ():
            parameters = vars(module)["_parameters"]
            if id(parameters) in protected or is_peft_class(type(module)):
                continue
            protected.add(id(parameters))
            self._before.append((module, list(parameters.items())))
            for name, tensor in (*parameters.items(), *vars(module)["_buffers"].items()):
                if tensor is None:
                    continue
                self._journal.protect_data(tensor)
                if tensor.is_floating_point() and bool(torch.isfinite(tensor).all() if not tensor.is_meta else False):
                    self._finite.append((holder.path, module, name))

    def settle(self) -> None:
        """Puts the results into the parameters that were there, in their order, and shares again what ended equal.

        Raises:
            AdapterError: A weight holds values that are not finite, and did not before.
        """
        for module, items in self._before:
            slots = vars(module)
            parameters = slots["_parameters"]
            for name, old in items:
                now = slots.get(name, parameters.get(name))
                if now is old or old is None or not isinstance(now, torch.Tensor):
                    continue
                if type(old) is torch.nn.Parameter and now.shape == old.shape and now.dtype == old.dtype:
                    self._journal.set_data(old, now.detach())
                    slots.pop(name, None)  # protected before
                    parameters[name] = old
            if list(parameters) != [name for name, _ in items]:
                for name, _ in items:
                    if name in parameters:
                        parameters[name] = parameters.pop(name)
        for where, module, name in self._finite:
            value = vars(module)["_parameters"].get(name, vars(module)["_buffers"].get(name))
            if value is not None and not bool(torch.isfinite(value).all()):
                raise AdapterError(
                    "Merging made weights that are not finite (NaN or infinite).",
                    where=f"{name} of {where}",
                    hint="The model is as it was. Look for NaN in the adapter's weights, or merge another one.",
                )
        self._share_again()

    def _share_again(self) -> None:
        for old, places in self._groups.values():
            now = [slots[name] for slots, name in places if name in slots]
            first = now[0]
            if not all(first is tensor or _equal(first, tensor) for tensor in now[1:]):
                continue
            if not _equal(first, old):
                self._journal.set_data(old, first.detach())
            for slots, name in places:
                if slots.get(name) is not old:
                    self._journal.set_item(slots, name, old)


OFFLOADING = "_hf_hook"
"""Attribute of a module whose weights accelerate brings in when it runs, and keeps elsewhere."""

_MODULE_SLOTS = frozenset(vars(torch.nn.Module()))


def _equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.shape == right.shape and left.dtype == right.dtype and not left.is_meta and bool(left.equal(right))


def modules_below(root: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """A module and everything in it, each once.

    `modules()` would change the model: PEFT's attention layer registers its weights anew when it is walked.
    """
    stack, seen = [root], set()
    while stack:
        module = stack.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield module
            stack += [child for child in vars(module)["_modules"].values() if child is not None]


def _base_of_layer(layer: torch.nn.Module) -> torch.nn.Module | None:
    """The innermost module of a chain of layers."""
    module = wrapped_module(layer)
    while module is not None and is_tuner_layer(type(module)):
        module = wrapped_module(module)
    return module


def merge(survey: Survey, merging: Merging, journal: Journal) -> Iterator[tuple[Holder, str]]:
    """Merges what was planned.

    Yields:
        Each layer that took adapters in, and their names in words.

    Raises:
        AdapterError: A layer refuses, or none takes an adapter in that layers hold.
    """
    weights = Weights(survey, [holder for holder, _ in merging.layers], journal)
    taken: set[str] = set()
    for holder, names in merging.layers:
        missing = [name for name in names if name not in _merged(holder)]
        if missing:  # a layer of several parts merges its parts itself
            _call(holder, "merge", missing, journal, adapter_names=missing)
        done = [name for name in names if name in _merged(holder)]
        if done:  # a layer that only shares a store with others that hold the adapter takes nothing in
            taken.update(done)
            yield holder, f"{', '.join(map(repr, done))} into the base weights"
    for holder, names in merging.layers:
        if not taken.issuperset(names):
            raise _refusal(holder, names, NotImplementedError())
    weights.settle()


def unmerge(survey: Survey, journal: Journal, layers: Sequence[Holder] | None = None) -> Iterator[tuple[Holder, str]]:
    """Takes every merged adapter out of the base weights.

    Args:
        survey: The model.
        journal: What undoes it.
        layers: Layers to unmerge; None for all that are merged.

    Yields:
        Each layer concerned, and what was taken out in words.

    Raises:
        AdapterError: A layer cannot take an adapter out again.
    """
    if layers is None:
        layers = [holder for holder in survey.holders if is_tuner_layer(type(holder.module)) and _merged(holder)]
    weights = Weights(survey, layers, journal) if layers else None
    for holder in layers:
        names = _merged(holder)
        if not names:
            continue
        _call(holder, "unmerge", names, journal)
        if _merged(holder):
            raise AdapterError(
                f"{', '.join(map(repr, names))} cannot be taken out of the base weights again.",
                where=holder.path,
                hint="The model is as it was. Load the base again, or unload with merge=True to keep the change.",
            )
        yield holder, f"{', '.join(map(repr, names))} out of the base weights"
    if weights is not None:
        weights.settle()


def _merged(holder: Holder) -> list[str]:
    return list(as_list(vars(holder.module).get(MERGED_OF_LAYER)))


def _call(holder: Holder, method: str, names: Sequence[str], journal: Journal, **keywords: Any) -> None:
    function: Callable[..., Any] | None = getattr(type(holder.module), method, None)
    if function is None:
        raise _refusal(holder, names, NotImplementedError())
    try:
        journal.call(function, holder.module, **keywords)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise _refusal(holder, names, error) from error
