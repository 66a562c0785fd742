"""One walk of a model that collects what deletion has to look at: PEFT's modules, their containers, the registries."""

from __future__ import annotations

import functools
import itertools
from operator import attrgetter, itemgetter, methodcaller
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from peftviz.core.tables import ModuleFlag
from peftviz.live.peft_facts import (
    MIXIN_LOADED,
    MODEL_SLOTS,
    REGISTRY_ATTRIBUTES,
    WRAPPED_SLOTS,
    handle_kind,
    is_auxiliary_wrapper,
    is_buffer_dict,
    is_config_class,
    is_tuner_layer,
    once_a_class,
)
from peftviz.live.removal.alike import Alike
from peftviz.live.snapshots.module_state import NON_PERSISTENT
from peftviz.live.snapshots.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Collection

    from peftviz.core.tables import BoolArray, IntArray
    from peftviz.live.snapshots.walk import Walk

_NOT_STATE = frozenset((*WRAPPED_SLOTS, *MODEL_SLOTS))


_slots = attrgetter("__dict__")
_stores = itemgetter("_modules", "_parameters", "_buffers", NON_PERSISTENT)
_keys = methodcaller("get", "_keys")
_PLAIN_SLOTS = len(vars(torch.nn.Module()))
"""So many attributes has a container in which names live nowhere but among its modules."""


class Holder:
    """One of PEFT's modules, or a hooked one, and its row in the tree; -1 outside it."""

    __slots__ = ("is_container", "module", "row", "tree")

    def __init__(self, module: torch.nn.Module, tree: Tree, row: int, is_container: bool = False) -> None:
        self.module = module
        self.tree = tree
        self.row = row
        self.is_container = is_container

    @property
    def path(self) -> str:
        """Dotted path from the model."""
        return self.tree.paths[self.row]


class Container:
    """A container of modules, parameters or buffers by adapter that one of PEFT's modules holds.

    Attributes:
        module: The container.
        row: The row below which its contents stand.
        owner: Who holds it, the first in preorder when several do.
        name: Its name there, dotted when it lies in a container of containers.
        keys: What it holds, in order.
        store: Its dictionary of modules, where names live nowhere else in it; otherwise None.
    """

    __slots__ = ("keys", "module", "name", "owner", "row", "store")

    def __init__(self, module: torch.nn.Module, row: int, owner: Holder, name: str) -> None:
        self.module = module
        self.row = row
        self.owner = owner
        self.name = name
        slots = module.__dict__
        inner, parameters, buffers, left_out = _stores(slots)
        self.keys = tuple(dict.fromkeys((*inner, *parameters, *buffers)) if parameters or buffers else inner)
        is_plain = len(slots) == _PLAIN_SLOTS and not (parameters or buffers or left_out)
        self.store: dict[str, torch.nn.Module] | None = inner if is_plain else None

    @property
    def path(self) -> str:
        """Dotted path from the model."""
        return self.owner.tree.paths.below(self.owner.row, self.name)


class Place(NamedTuple):
    """Where a wrapper sits: its parent, its name there, the wrapper, the record of this place."""

    parent: torch.nn.Module
    name: str
    module: torch.nn.Module
    row: int


class Survey:
    """What one walk found.

    Args:
        model: The root.
        recorded: A walk of it that kept its objects; made here when there is none.

    Attributes:
        model: The root.
        tree: The walk's records.
        holders: PEFT's modules in preorder, those inside adapters' own containers included.
        adopted: Handles outside the model, on the same base.
        places: Every place of a wrapper.
        registries: Record and dictionary of each config registry, distinct dictionaries only.
        registry_owners: Modules that hold a registry attribute, with the attribute and their record.
        hooked: Modules with forward hooks.
        parameters: Every parameter of the model once.
    """

    def __init__(self, model: torch.nn.Module, recorded: Walk | None = None) -> None:
        self.model = model
        self.tree = tree = Tree(model, recorded)
        self.parameters = tree.parameters
        self.adopted: list[torch.nn.Module] = []
        self.registries: list[tuple[int, dict[str, Any]]] = []
        self.registry_owners: list[tuple[torch.nn.Module, str, int]] = []
        self.hooked = [Holder(tree.modules[row], tree, row) for row in tree.hooked]
        classes = tree.walk.types
        dict_like, wraps = list(map(is_dict_like, classes)), list(map(is_wrapper, classes))
        modules, parents, names, again = tree.modules, tree.parents, tree.names, tree.again
        kinds = tree.walk.cls.tolist()
        self.holders = [Holder(modules[row], tree, row, dict_like[kinds[row]]) for row in tree.peft if row not in again]
        self.places = [
            Place(modules[parents[row]], names[row], modules[row], row)
            for row in tree.peft
            if wraps[kinds[row]] and row
        ]
        self._collect_registries()

    @functools.cached_property
    def alike(self) -> list[Alike]:
        """The holders, grouped by class and state, in the order of the first of each."""
        walk = self.tree.walk
        found: dict[tuple[int, int], list[Holder]] = {}
        kinds, states = walk.cls.tolist(), walk.state.tolist()
        for holder in self.holders[len(self.adopted) :]:
            row = holder.row
            found.setdefault((kinds[row], states[row]), []).append(holder)
        texts = list(walk.states.texts)
        outside = [Alike([holder], None) for holder in self.holders[: len(self.adopted)]]
        return outside + [Alike(holders, texts[state]) for (_, state), holders in found.items()]

    @functools.cached_property
    def handles(self) -> list[Holder]:
        """PEFT's handles, those outside the tree first, the others in preorder."""
        handles = [alike.holders for alike in self.alike if handle_kind(alike.first.module) is not None]
        return sorted(itertools.chain.from_iterable(handles), key=attrgetter("row"))

    @property
    def containers(self) -> list[Container]:
        """Containers that modules of PEFT's hold and that are not empty, each once."""
        return self._contents[0]

    @property
    def groups(self) -> list[tuple[torch.nn.Module, list[Container]]]:
        """Containers of such containers, keyed by something else than adapters, with what they hold."""
        return self._contents[1]

    @property
    def shared(self) -> set[int]:
        """`id` of containers that several modules hold, such as the projections of VeRA."""
        return self._contents[2]

    @functools.cached_property
    def _contents(self) -> tuple[list[Container], list[tuple[torch.nn.Module, list[Container]]], set[int]]:
        walk, modules, names = self.tree.walk, self.tree.modules, self.tree.names
        rows = _container_rows(walk)
        expanded = np.arange(len(modules))
        expanded[walk.alias_rows] = walk.alias_targets
        is_filled = np.zeros(len(modules), bool)
        is_filled[walk.parent[1:]] = is_filled[walk.tensors.owner] = True
        bare = rows[~is_filled[expanded[rows]]].tolist()  # these hold nothing, unless it is no module and no tensor
        slots = map(_slots, map(modules.__getitem__, bare))
        odd = [row for row, own in zip(bare, slots, strict=True) if any(_stores(own)) or _keys(own)]
        is_filled[expanded[odd]] = True
        rows = rows[is_filled[expanded[rows]]]
        holders = {holder.row: holder for holder in self.holders}
        shared: set[int] = set()
        found: dict[int, Container] = {}
        columns = (rows, expanded[rows], walk.parent[rows])
        for row, below, parent in zip(*map(np.ndarray.tolist, columns), strict=True):
            if below in found:
                shared.add(id(modules[row]))
            else:
                found[below] = Container(modules[row], below, holders[parent], names[row])
        if not (_dict_like(walk) & np.isin(walk.parent, list(found))).any():
            return list(found.values()), [], shared
        containers, groups = self._open_groups(list(found.values()), shared)
        return containers, groups, shared

    def _open_groups(
        self, closed: list[Container], shared: set[int]
    ) -> tuple[list[Container], list[tuple[torch.nn.Module, list[Container]]]]:
        """Looks into containers of containers: one that no adapter's name is a key of groups others."""
        met = {id(container.module) for container in closed}
        rows = {id(module): row for row, module in reversed(list(enumerate(self.tree.modules)))}
        containers: list[Container] = []
        groups: list[tuple[torch.nn.Module, list[Container]]] = []
        for container in closed:
            if not _groups_others(container.module) or not self.configs.keys().isdisjoint(container.keys):
                containers.append(container)
                continue
            held = [
                Container(child, rows[id(child)], container.owner, f"{container.name}.{key}")
                for key, child in vars(container.module)["_modules"].items()
            ]
            groups.append((container.module, held))
            shared.update(id(inside.module) for inside in held if id(inside.module) in met)
            containers += [inside for inside in held if id(inside.module) not in met]
        return containers, groups

    def may_hold(self, names: Collection[str]) -> bool:
        """Whether a container can hold one of the names: no key of any module that the walk has met may be one."""
        walk = self.tree.walk
        if any(name in walk.names for name in names):
            return True
        slots = list(map(_slots, map(self.tree.modules.__getitem__, _container_rows(walk).tolist())))
        elsewhere = any(map(itemgetter(NON_PERSISTENT), slots)) or any(map(_keys, slots))
        return elsewhere or any(name in own for name in names for own in slots)

    def _collect_registries(self) -> None:
        """Registries of PEFT's handles and of models with injected adapters, outermost first."""
        tree = self.tree
        for row in sorted([*(holder.row for holder in self.handles), *tree.registered]):
            module = tree.modules[row]
            for attribute in REGISTRY_ATTRIBUTES:
                self._add_registry(module, attribute, row)

    def _add_registry(self, module: torch.nn.Module, attribute: str, row: int) -> None:
        registry: Any = vars(module).get(attribute)
        if is_registry(registry):
            self.registry_owners.append((module, attribute, row))
            if all(known is not registry for _, known in self.registries):
                self.registries.append((row, registry))

    def adopt(self, handle: torch.nn.Module) -> None:
        """Looks after a handle outside the model too; what it says of activity counts least."""
        self.adopted.append(handle)
        self.holders.insert(0, Holder(handle, self.tree, -1))
        vars(self).pop("alike", None)
        vars(self).pop("handles", None)
        for attribute in REGISTRY_ATTRIBUTES:
            self._add_registry(handle, attribute, 0)

    def anew(self, recorded: Walk | None = None) -> Survey:
        """Another survey of the same model, after its modules may have changed places.

        Args:
            recorded: A walk of it that kept its objects; made here when there is none.
        """
        now = Survey(self.model, recorded)
        for handle in self.adopted:
            now.adopt(handle)
        return now

    @functools.cached_property
    def configs(self) -> dict[str, Any]:
        """Configs by adapter, in the order of the first registry that names each."""
        found: dict[str, Any] = {}
        for _, registry in self.registries:
            for name, config in registry.items():
                found.setdefault(name, config)
        return found

    @property
    def kind(self) -> str | None:
        """Kind of model: one of PEFT's handles, `"transformers"`, `"injected"`, or None for a plain model."""
        kind = handle_kind(self.model)
        if kind is not None:
            return kind
        if self.registries or self.holders:
            return "transformers" if vars(self.model).get(MIXIN_LOADED) else "injected"
        return None

    @functools.cached_property
    def names(self) -> list[str]:
        """Every adapter name, the registered ones first, then those that only the tree knows, in preorder."""
        found = dict.fromkeys(self.configs)
        for keys in dict.fromkeys(container.keys for container in self.containers):
            found.update(dict.fromkeys(keys))
        return list(found)

    @functools.cached_property
    def living(self) -> list[str]:
        """Adapters that count: the registered ones in config order; without any registry, those with layer weights."""
        if self.registries:
            return list(self.configs)
        followers = self.followers
        owners = (
            container.keys
            for container in self.containers
            if is_tuner_layer(type(container.owner.module)) and id(container.owner.module) not in followers
        )
        found: dict[str, None] = {}
        for keys in dict.fromkeys(owners):
            found.update(dict.fromkeys(keys))
        return list(found)

    @functools.cached_property
    def followers(self) -> dict[int, torch.nn.Module]:
        """Layers inside an auxiliary wrapper (tokens), by `id`, with the wrapper that they follow."""
        return {id(place.module): place.parent for place in self.places if is_auxiliary_wrapper(type(place.parent))}


def _groups_others(container: torch.nn.Module) -> bool:
    """Whether a container holds nothing but containers."""
    classes = set(map(type, container.__dict__["_modules"].values()))
    return bool(classes) and all(map(is_dict_like, classes))


def keys_of(container: torch.nn.Module) -> list[str]:
    """Keys of a container in order."""
    slots = vars(container)
    return list(dict.fromkeys((*slots["_modules"], *slots["_parameters"], *slots["_buffers"])))


def _container_rows(walk: Walk) -> IntArray:
    """Rows of the containers that modules of PEFT's hold, by the row of who holds them; wrapped modules are none."""
    dict_like = _dict_like(walk)
    holds = ((walk.flags & ModuleFlag.PEFT_CLASS) != 0) & ~dict_like
    parent = np.maximum(walk.parent, 0)
    codes = [walk.names[name] for name in _NOT_STATE if name in walk.names]
    held = dict_like & holds[parent] & ~np.isin(walk.name, codes)
    held[0] = False
    rows = np.flatnonzero(held)
    return rows[np.argsort(parent[rows], kind="stable")]


def _dict_like(walk: Walk) -> BoolArray:
    return np.array(list(map(is_dict_like, walk.types)), bool)[walk.cls]


def is_registry(value: object) -> bool:
    """Whether an attribute is a dictionary of adapter configs."""
    return isinstance(value, dict) and all(is_config_class(type(config)) for config in value.values())


@once_a_class
def is_dict_like(cls: type) -> bool:
    """Whether a class is a container of modules, parameters or buffers by name."""
    return issubclass(cls, (torch.nn.ModuleDict, torch.nn.ParameterDict)) or is_buffer_dict(cls)


@once_a_class
def is_wrapper(cls: type) -> bool:
    """Whether a class wraps a module of the base model."""
    return is_tuner_layer(cls) or is_auxiliary_wrapper(cls)


def wrapped_module(wrapper: torch.nn.Module) -> torch.nn.Module | None:
    """The module that a wrapper wraps, never a trained copy; None when it wraps none."""
    children = vars(wrapper)["_modules"]
    for slot in WRAPPED_SLOTS:
        module = children.get(slot)
        if module is not None:
            return module  # type: ignore[no-any-return]
    for child in children.values():
        if child is not None and is_tuner_layer(type(child)):  # a wrapper of tokens keeps the module one floor deeper
            return wrapped_module(child)
    return None
