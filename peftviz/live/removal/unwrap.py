"""Takes off wrappers that no adapter needs any more."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from peftviz.live.peft_facts import (
    DECLARED_FROZEN,
    DECLARED_LAYERS,
    TARGETED_ATTRIBUTES,
    WRAPPED_SLOTS,
    handle_kind,
    is_auxiliary_wrapper,
)
from peftviz.live.removal.activity import available_on
from peftviz.live.removal.handles import loses_all, registry_of_handle
from peftviz.live.removal.keeping import take_over
from peftviz.live.removal.survey import Survey, is_dict_like, is_wrapper, keys_of, wrapped_module
from peftviz.live.removal.sweep import SLOTS, Edits
from peftviz.live.snapshots.base_model import base_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import torch


def empty_wrappers(
    survey: Survey, names: frozenset[str], known: Collection[str], *, only_touched: bool
) -> dict[int, torch.nn.Module]:
    """Wrappers that hold nothing for any adapter once the names are gone.

    Args:
        survey: The model.
        names: Names that go.
        known: All adapter names.
        only_touched: Leave wrappers alone that held none of the names.

    Returns:
        The wrappers by `id`.
    """
    found: dict[int, torch.nn.Module] = {}
    fully = {keys: names.issuperset(keys) for keys in {container.keys for container in survey.containers}}
    stays = {
        id(container.owner.module)
        for container in survey.containers
        if not fully[container.keys] and id(container.module) not in survey.shared
    }
    verdicts: dict[int, bool] = dict.fromkeys(stays, False)
    for _, _, module, _ in survey.places:
        if id(module) not in verdicts:
            held = adapters_on(module, known, survey.shared)
            verdicts[id(module)] = held <= names and (bool(held) or not only_touched)
        if verdicts[id(module)] and wrapped_module(module) is not None:
            found[id(module)] = module
    return found


def adapters_on(wrapper: torch.nn.Module, known: Collection[str], shared: Collection[int]) -> set[str]:
    """Adapters for which a wrapper holds anything: entries of containers, or plain dictionaries keyed by them.

    What it shares with others (projections of the whole tuner) does not count beside stores of its own, empty or not.
    """
    found = set(available_on(wrapper, shared))
    for attribute, value in vars(wrapper).items():
        if type(value) is dict and value and attribute not in SLOTS:
            found.update(key for key in value if key in known)
    if found or any(
        child is not None and slot not in WRAPPED_SLOTS and id(child) not in shared and is_dict_like(type(child))
        for slot, child in vars(wrapper)["_modules"].items()
    ):
        return found
    return set(available_on(wrapper))


def plan_unwrapping(
    survey: Survey, leaving: dict[int, torch.nn.Module], edits: Edits, kept: Mapping[int, torch.nn.Module]
) -> list[tuple[int, str]]:
    """Notes the edits that put the wrapped modules back in the wrappers' places.

    Args:
        survey: The model.
        leaving: Wrappers that are taken off, by `id`.
        edits: Where to note it.
        kept: Trained copies that take the place instead, by `id` of the wrapper.

    Returns:
        Record and class of each wrapper that goes, every place of it.
    """
    done: list[tuple[int, str]] = []
    for parent, name, module, row in survey.places if leaving else ():
        if id(module) not in leaving or id(parent) in leaving:
            continue
        if is_wrapper(type(parent)) and name not in WRAPPED_SLOTS:
            continue  # a part of a wrapper that stays
        inner = wrapped_module(module)
        copy = kept.get(id(module))
        if copy is not None and not (inner is not None and take_over(inner, copy, edits)):
            inner = copy
        while inner is not None and id(inner) in leaving:
            inner = wrapped_module(inner)
        if inner is not None and edits.set(vars(parent)["_modules"], name, inner):
            done.append((row, type(module).__name__))
    return done


def plan_taking_out(survey: Survey, names: Collection[str], edits: Edits, *, also_empty: bool) -> list[tuple[int, str]]:
    """Notes the edits that put the base in the place of handles inside other libraries' modules that lose all adapters.

    Args:
        survey: The model.
        names: Names that go.
        edits: Where to note it.
        also_empty: Take out those, too, that had no adapter before.

    Returns:
        Record and class of each handle that goes, every place of it.
    """
    done: list[tuple[int, str]] = []
    tree = survey.tree
    for row in tree.peft:
        handle, parent = tree.modules[row], tree.modules[tree.parents[row]]
        if not row or handle_kind(handle) is None or handle_kind(parent) is not None:
            continue
        if not loses_all(handle, names) or not (also_empty or registry_of_handle(handle)):
            continue
        if edits.set(vars(parent)["_modules"], tree.names[row], base_of(handle)):
            done.append((row, type(handle).__name__))
    return done


def is_bare_afterwards(wrapper: torch.nn.Module, leaving: Collection[int]) -> bool:
    """Whether a place has no wrapper any more once those that leave are gone: methods of a mixed model are stacked."""
    inner: torch.nn.Module | None = wrapper
    while inner is not None and id(inner) in leaving:
        inner = wrapped_module(inner)
    return inner is None or not is_wrapper(type(inner))


def adapted_copies(survey: Survey, names: Collection[str]) -> set[str]:
    """Paths of wrappers in copies of the names: PEFT adapts a copy whose adapter has the name of a target."""
    copies = [
        f"{container.path}.{name}"
        for container in survey.containers
        if is_auxiliary_wrapper(type(container.owner.module))
        for name in container.keys
        if name in names
    ]
    if not copies:
        return set()
    paths = [survey.tree.paths[place.row] for place in survey.places]
    return {path for path in paths if any(f"{path}.".startswith(f"{copy}.") for copy in copies)}


def correct_targets(survey: Survey, unwrapped: Collection[str], edits: Edits, *, strays: bool) -> None:
    """Notes the edits that take modules off the tuners' lists of what they adapted.

    Args:
        survey: The model.
        unwrapped: Paths that have no wrapper any more.
        edits: Where to note it.
        strays: Take off every path at which there is no wrapper: older PEFT lists a module before it adapts it, and
            leaves it there when that fails.
    """
    gone = set(unwrapped)
    standing = {survey.tree.paths[place.row] for place in survey.places} - gone if strays else set()
    others = [alike for alike in survey.alike if not is_wrapper(alike.cls)]
    for holder in itertools.chain.from_iterable(alike.holders for alike in others):
        slots = vars(holder.module)
        for attribute in TARGETED_ATTRIBUTES:
            listed = slots.get(attribute)
            if not isinstance(listed, list) or not listed:
                continue
            prefix = f"{holder.path}.model." if holder.path else "model."
            # a PeftMixedModel notes what it adds later by whole paths
            whole = [path if holder.path and path.startswith(prefix) else prefix + path for path in listed]
            wanted = {path for path, at in zip(listed, whole, strict=True) if not _is_in(gone, at, attribute)}
            if strays and holder.row >= 0:  # the paths of a handle outside the tree are not the tree's
                wanted &= {path for path, at in zip(listed, whole, strict=True) if _is_in(standing, at, attribute)}
            kept = [path for path in dict.fromkeys(listed) if path in wanted]
            if kept != listed:
                edits.set(slots, attribute, kept)


def _is_in(places: Collection[str], path: str, attribute: str) -> bool:
    """Whether a listed module, or the module of a listed parameter, is one of those."""
    return path in places or (attribute == TARGETED_ATTRIBUTES[1] and path.rpartition(".")[0] in places)


def correct_declarations(layers: Sequence[torch.nn.Module], names: Collection[str], edits: Edits) -> None:
    """Notes the removal of what layers alike declare beside their class for containers that the deletion empties."""
    if DECLARED_FROZEN not in vars(layers[0]) and DECLARED_LAYERS not in vars(layers[0]):
        return
    for layer in layers:
        slots = vars(layer)
        frozen = slots.get(DECLARED_FROZEN)
        if frozen and all(name in names for name in frozen):  # a layer has none until an adapter needs it
            edits.delete(slots, DECLARED_FROZEN)
        declared: Any = slots.get(DECLARED_LAYERS)
        inherited = getattr(type(layer), DECLARED_LAYERS, None)
        if not isinstance(declared, tuple) or not isinstance(inherited, tuple):
            continue
        own = declared[len(inherited) :]
        kept = tuple(entry for entry in own if not _emptied(slots["_modules"].get(entry), names))
        if declared[: len(inherited)] != inherited or len(kept) == len(own):
            continue
        if kept:
            edits.set(slots, DECLARED_LAYERS, inherited + kept)
        else:
            edits.delete(slots, DECLARED_LAYERS)


def _emptied(container: torch.nn.Module | None, names: Collection[str]) -> bool:
    return container is not None and is_dict_like(type(container)) and set(keys_of(container)) <= set(names)
