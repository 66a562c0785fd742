"""The general rule: where the name of an adapter lives in a model, and the edits that take it away.

No list of attribute names is kept and PEFT's own deletion is not called. A name lives in

1. a `ModuleDict`, `ParameterDict` or `BufferDict` that a module of PEFT's holds, as a key;
2. the instance attributes of PEFT's modules, through dictionaries, lists, tuples, sets, strings and plain objects of
   PEFT's, to a bounded depth;
3. `_non_persistent_buffers_set`;
4. hooks of PEFT's: arguments of partials and closure cells; handles of such hooks in the attributes of 2.

Everything here reads. `Edits` only notes what has to be done to which dictionary.
"""

from __future__ import annotations

import functools
from itertools import repeat
from operator import contains, itemgetter
from types import CellType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.hooks import RemovableHandle

from peftviz.live.peft_facts import (
    ACTIVE_OF_HANDLE,
    ACTIVE_OF_LAYER,
    MERGED_OF_LAYER,
    NOT_ADAPTER_NAMES,
    is_config_class,
    is_peft_class,
    is_peft_function,
)
from peftviz.live.removal.journal import MISSING
from peftviz.live.snapshots.module_state import NON_PERSISTENT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from peftviz.live.removal.journal import Edit
    from peftviz.live.removal.survey import Container, Holder, Survey

MAX_DEPTH = 6

SLOTS = frozenset(vars(torch.nn.Module()))

BY_OWN_RULES = (ACTIVE_OF_HANDLE, ACTIVE_OF_LAYER, MERGED_OF_LAYER)

UNSEARCHED = SLOTS | NOT_ADAPTER_NAMES | {*BY_OWN_RULES}
"""Attributes that the walk through `vars` leaves out; activity, merging and registries are read by their own rules."""

HOOK_SLOTS = ("_forward_hooks", "_forward_pre_hooks")
HOOK_FLAGS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")


_stores = itemgetter("_modules", "_parameters", "_buffers")


class Edits:
    """Edits of dictionaries, each key of a dictionary once.

    Attributes:
        list: What the journal carries out, in this order.
    """

    def __init__(self) -> None:
        self.list: list[Edit] = []
        self._edited: dict[Any, set[int]] = {}

    def set(self, mapping: dict[Any, Any], key: Any, value: Any) -> bool:
        """Notes `mapping[key] = value`; False when that key has an edit already."""
        edited = self._edited.setdefault(key, set())
        if id(mapping) in edited:
            return False
        edited.add(id(mapping))
        self.list.append(([mapping], key, value))
        return True

    def deletes(self, mapping: dict[Any, Any], key: Any) -> bool:
        """Whether that key has an edit: of a dictionary from which things are only taken, that it goes."""
        return id(mapping) in self._edited.get(key, ())

    def delete(self, mapping: dict[Any, Any], key: Any) -> bool:
        """Notes `del mapping[key]`; False when that key has an edit already."""
        return self.set(mapping, key, MISSING)

    def delete_from_each(self, mappings: Sequence[dict[Any, Any]], key: Any) -> None:
        """Notes `del mapping[key]` of many dictionaries, but where that key has an edit already."""
        edited = self._edited.setdefault(key, set())
        fresh = dict(zip(map(id, mappings), mappings, strict=True))
        if not edited.isdisjoint(fresh):
            fresh = {mark: mapping for mark, mapping in fresh.items() if mark not in edited}
        edited.update(fresh)
        if fresh:
            self.list.append((list(fresh.values()), key, MISSING))


def container_slots(container: torch.nn.Module, name: str) -> list[dict[str, Any]]:
    """The dictionaries of a container that have the name as a key."""
    slots = container.__dict__
    found = [mapping for mapping in _stores(slots) if name in mapping]
    if isinstance(slots.get("_keys"), dict) and name in slots["_keys"]:
        found.append(slots["_keys"])
    if name in slots and name not in SLOTS:
        found.append(slots)
    return found


def sweep_containers(survey: Survey, names: AbstractSet[str], edits: Edits) -> list[tuple[Container, str]]:
    """Notes the removal of what containers hold under the names.

    Returns:
        Each container and name where something is.
    """
    found: list[tuple[Container, str]] = []
    ordered = sorted(names)
    modules: dict[str, list[dict[str, Any]]] = {name: [] for name in ordered}
    for container in survey.containers:
        if container.store is not None:
            for name in ordered:
                if name in container.store:
                    modules[name].append(container.store)
                    found.append((container, name))
            continue
        slots = vars(container.module)
        for name in ordered:
            mappings = container_slots(container.module, name)
            edits.delete_from_each(mappings, name)
            if mappings:
                found.append((container, name))
        left_out = slots[NON_PERSISTENT]
        if left_out and not left_out.isdisjoint(names):
            edits.set(slots, NON_PERSISTENT, left_out.difference(names))
    for name, stores in modules.items():
        edits.delete_from_each(stores, name)
    for group, held in survey.groups:
        for container in held:
            if container.keys and all(key in names for key in container.keys):
                edits.delete(vars(group)["_modules"], container.name.rpartition(".")[2])
    return found


def sweep_state(
    survey: Survey,
    names: frozenset[str],
    known: AbstractSet[str],
    replacement: Any,
    edits: Edits,
    leaving: Collection[int] = (),
) -> Iterator[tuple[list[Holder], tuple[str, ...]]]:
    """Notes the removal of the names from the attributes of PEFT's modules.

    Args:
        survey: The model.
        names: Names to take away.
        known: All adapter names; a dictionary keyed by nothing else is keyed by adapter.
        replacement: What a plain string attribute that names the adapter becomes.
        edits: Where to note it.
        leaving: `id` of modules that go; they need no edit.

    Yields:
        Modules that are alike and concerned in the same way, and the attributes in which they are.
    """
    for alike in survey.alike:
        attributes = alike.carriers(names)
        if not attributes and not alike.of_containers:
            continue
        holders = [holder for holder in alike.holders if id(holder.module) not in leaving] if leaving else alike.holders
        slots = [holder.module.__dict__ for holder in holders]
        if alike.of_containers:
            for own in slots:
                left_out = own[NON_PERSISTENT]
                if left_out and not left_out.isdisjoint(names):
                    edits.set(own, NON_PERSISTENT, left_out.difference(names))
        keyed = {attribute: there for attribute in attributes if (there := alike.keyed(attribute, names, known))}
        for attribute, there in list(keyed.items()):
            mappings = list(map(itemgetter(attribute), slots))
            if all(all(map(contains, mappings, repeat(name))) for name in there):
                for name in there:
                    edits.delete_from_each(mappings, name)
            else:  # a key that only reads like the name
                del keyed[attribute]
        if len(keyed) == len(attributes):
            if keyed and holders:
                yield holders, attributes
            continue
        touched: dict[tuple[str, ...], list[Holder]] = {}
        for holder, own in zip(holders, slots, strict=True):
            found = tuple(
                attribute
                for attribute in attributes
                if attribute in keyed or _sweep_attribute(own, attribute, names, known, replacement, edits)
            )
            if found:
                touched.setdefault(found, []).append(holder)
        for found, concerned in touched.items():
            yield concerned, found


def _sweep_attribute(
    slots: dict[str, Any],
    attribute: str,
    names: frozenset[str],
    known: AbstractSet[str],
    replacement: Any,
    edits: Edits,
) -> bool:
    value = slots[attribute]
    if type(value) is str:
        return value in names and "adapter" in attribute and edits.set(slots, attribute, replacement)
    hit, changed = _strip(value, names, known, replacement, edits, 0)
    if changed is not value:
        edits.set(slots, attribute, changed)
    return hit


_ATOMS = frozenset({bool, int, float, complex, type(None), torch.dtype, torch.device, torch.Size, torch.Tensor})


def _strip(
    value: Any, names: frozenset[str], known: AbstractSet[str], replacement: Any, edits: Edits, depth: int
) -> tuple[bool, Any]:
    """Whether the names were found, and the value without them: for dictionaries the same object, else another."""
    if depth > MAX_DEPTH or type(value) in _ATOMS:
        return False, value
    if isinstance(value, dict):
        return _strip_dict(value, names, known, replacement, edits, depth), value
    if isinstance(value, (set, frozenset)):
        kept = [item for item in value if not (type(item) is str and item in names)]
        return (True, type(value)(kept)) if len(kept) < len(value) else (False, value)
    if type(value) in (list, tuple):
        if not value:
            return False, value
        hit = False
        changed = False
        items = []
        for item in value:
            if type(item) is str:
                if item in names:
                    hit = changed = True
                    continue
                items.append(item)
                continue
            inner_hit, inner = _strip(item, names, known, replacement, edits, depth + 1)
            hit |= inner_hit
            changed |= inner is not item
            if inner is not None or item is None:
                items.append(inner)
        return hit, (type(value)(items) if changed else value)
    cls = type(value)
    if cls is RemovableHandle:
        hook = (value.hooks_dict_ref() or {}).get(value.id)
        if hook is None:
            return False, None  # a handle of a hook that is gone
        return (True, None) if is_peft_function(hook) and _carries(hook, names, 0) else (False, value)
    if is_peft_class(cls) and not isinstance(value, (torch.nn.Module, type)) and not is_config_class(cls):
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            return _strip_dict(attributes, names, known, replacement, edits, depth), value
    return False, value


def _strip_dict(
    mapping: dict[Any, Any], names: frozenset[str], known: AbstractSet[str], replacement: Any, edits: Edits, depth: int
) -> bool:
    if not mapping:
        return False
    hit = not names.isdisjoint(mapping)
    if hit:
        for name in names.intersection(mapping):
            edits.delete(mapping, name)
    if mapping.keys() <= known:
        return hit  # keyed by adapter: what stays belongs to the others
    for key, item in mapping.items():
        if type(key) is str and key in names:
            continue
        if type(item) is str:
            if item in names and isinstance(key, str) and "adapter" in key:
                hit |= edits.set(mapping, key, replacement)
            continue
        inner_hit, inner = _strip(item, names, known, replacement, edits, depth + 1)
        if inner is not item:
            edits.set(mapping, key, inner)
        hit |= inner_hit
    return hit


def delete_hook(slots: dict[str, Any], slot: str, key: int, edits: Edits) -> bool:
    """Notes the removal of one hook of a module and of its flags; False when it is noted already."""
    if not edits.delete(slots[slot], key):
        return False
    for flags in HOOK_FLAGS:
        if flags.startswith(slot) and key in slots.get(flags, ()):
            edits.delete(slots[flags], key)
    return True


def sweep_hooks(
    survey: Survey, names: Collection[str], edits: Edits, leaving: Collection[int] = ()
) -> Iterator[tuple[Holder, str]]:
    """Notes the removal of PEFT's hooks that carry one of the names, or are methods of a module that goes.

    Args:
        survey: The model.
        names: Names that go.
        edits: Where to note it.
        leaving: `id` of PEFT's modules that go.

    Yields:
        The module and the name of the hook's function.
    """
    for holder in survey.hooked:
        slots = vars(holder.module)
        for slot in HOOK_SLOTS:
            for key, hook in slots[slot].items():
                spent = _carries(hook, names, 0) or id(getattr(hook, "__self__", None)) in leaving
                if spent and is_peft_function(hook) and delete_hook(slots, slot, key, edits):
                    function = hook.func if isinstance(hook, functools.partial) else hook
                    yield holder, getattr(function, "__name__", type(hook).__name__)


def _carries(value: Any, names: Collection[str], depth: int) -> bool:
    if type(value) is str:
        return value in names
    if depth > MAX_DEPTH or isinstance(value, (torch.nn.Module, torch.Tensor)):
        return False
    if isinstance(value, functools.partial):
        parts: list[Any] = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = list(value)
    elif isinstance(value, dict):
        parts = [*value, *value.values()]
    else:
        cells = getattr(value, "__closure__", None) or ()
        parts = [cell.cell_contents for cell in cells if cell != CellType()]
    return any(_carries(part, names, depth + 1) for part in parts)


def find_traces(survey: Survey, names: frozenset[str], known: AbstractSet[str]) -> list[str]:
    """Every place where one of the names still lives, in words; empty when none does."""
    edits = Edits()
    traces = []
    if survey.may_hold(names):
        traces += [f"{container.path} holds {name!r}" for container, name in sweep_containers(survey, names, edits)]
    for holders, attributes in sweep_state(survey, names, known, None, edits):
        traces += [f"{holder.path}.{attribute}" for holder in holders for attribute in attributes]
    for alike in survey.alike:
        slots = vars(alike.first.module)
        traces += [
            f"{holder.path}.{attribute}"
            for attribute in BY_OWN_RULES
            if (value := slots.get(attribute)) and not names.isdisjoint(as_list(value))
            for holder in alike.holders
        ]
    traces += [f"{holder.path}: hook {hook}" for holder, hook in sweep_hooks(survey, names, edits)]
    traces += [
        f"registry of {survey.tree.paths[row] or 'the model'} knows {name!r}"
        for row, registry in survey.registries
        for name in registry
        if name in names
    ]
    return traces


def as_list(value: Any) -> list[str]:
    """Adapter names from a value that is a string here and a list there."""
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, (list, tuple)) else []
