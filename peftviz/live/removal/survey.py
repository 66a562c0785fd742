"""One walk of a model that collects what deletion has to look at: PEFT's modules, their containers, the registries."""

from __future__ import annotations

import functools
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

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
from peftviz.live.snapshots.module_state import NON_PERSISTENT
from peftviz.live.snapshots.tree import Tree, reach

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from peftviz.live.snapshots.walk import Walk

_NOT_STATE = frozenset((*WRAPPED_SLOTS, *MODEL_SLOTS))


_STORES = itemgetter("_modules", "_parameters", "_buffers", NON_PERSISTENT)


class Holder:
    """One of PEFT's modules, or a hooked one, and its record in the tree."""

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
        owner: Who holds it, the first in preorder when several do.
        name: Its name there, dotted when it lies in a container of containers.
        keys: What it holds, in order.
        is_odd: Whether names may live elsewhere in it too: in its list of keys, or of buffers that are not saved.
    """

    __slots__ = ("is_odd", "keys", "module", "name", "owner")

    def __init__(self, module: torch.nn.Module, owner: Holder, name: str, keys: tuple[str, ...], is_odd: bool) -> None:
        self.module = module
        self.owner = owner
        self.name = name
        self.keys = keys
        self.is_odd = is_odd

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
        containers: Containers that modules of PEFT's hold and that are not empty, each once.
        groups: Containers of such containers, keyed by something else than adapters, with what they hold.
        adopted: Handles outside the model, on the same base.
        shared: `id` of containers that several modules hold, such as the projections of VeRA.
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
        self.holders: list[Holder] = []
        self.containers: list[Container] = []
        self.groups: list[tuple[torch.nn.Module, list[Container]]] = []
        self.shared: set[int] = set()
        self.adopted: list[torch.nn.Module] = []
        self.places: list[Place] = []
        self.registries: list[tuple[int, MutableMapping[str, Any]]] = []
        self.registry_owners: list[tuple[torch.nn.Module, str, int]] = []
        self.hooked = [Holder(tree.modules[row], tree, row) for row in tree.hooked]
        self._collect_holders()
        self._collect_registries()
        self._open_groups()

    def _collect_holders(self) -> None:
        tree = self.tree
        modules, parents, names = tree.modules, tree.parents, tree.names
        met: set[int] = set()
        for row in tree.peft:
            module = modules[row]
            cls = type(module)
            if row and is_wrapper(cls):
                self.places.append(Place(modules[parents[row]], names[row], module, row))
            if row in tree.again:
                continue
            if is_dict_like(cls):
                self.holders.append(Holder(module, tree, row, True))
                continue
            holder = Holder(module, tree, row)
            self.holders.append(holder)
            children = module.__dict__["_modules"]
            for name in _dict_like(tuple(children), tuple(map(type, children.values()))):
                child = children[name]
                slots = child.__dict__
                inner, parameters, buffers, left_out = _STORES(slots)
                if inner and not (parameters or buffers or left_out):
                    keys, is_odd = tuple(inner), False
                elif parameters or buffers or left_out or slots.get("_keys"):
                    keys, is_odd = _contents(slots)
                else:
                    continue
                if id(child) in met:
                    self.shared.add(id(child))
                else:
                    met.add(id(child))
                    self.containers.append(Container(child, holder, name, keys, is_odd))

    def _open_groups(self) -> None:
        """Looks into containers of containers: one that no adapter's name is a key of groups others."""
        if not any(_groups_others(container.module) for container in self.containers):
            return
        met = {id(container.module) for container in self.containers}
        containers = []
        for container in self.containers:
            inner = vars(container.module)["_modules"]
            if not _groups_others(container.module):
                containers.append(container)
            elif self.configs.keys().isdisjoint(container.keys):
                held = [
                    Container(child, container.owner, f"{container.name}.{key}", *_contents(vars(child)))
                    for key, child in inner.items()
                ]
                self.groups.append((container.module, held))
                self.shared.update(id(inside.module) for inside in held if id(inside.module) in met)
                containers += [inside for inside in held if id(inside.module) not in met]
            else:
                containers.append(container)
        self.containers = containers

    def _collect_registries(self) -> None:
        """Registries of PEFT's handles and of models with injected adapters, outermost first."""
        tree = self.tree
        handles = [holder.row for holder in self.holders if handle_kind(holder.module) is not None]
        for row in sorted([*handles, *tree.registered]):
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
        self.holders.insert(0, Holder(handle, self.tree, 0))
        for attribute in REGISTRY_ATTRIBUTES:
            self._add_registry(handle, attribute, 0)

    def anew(self) -> Survey:
        """Another survey of the same model, after its modules may have changed places."""
        now = Survey(self.model)
        for handle in self.adopted:
            now.adopt(handle)
        return now

    def again(self, recorded: Walk | None = None) -> Survey:
        """What is left of all that was found, its contents read anew.

        Args:
            recorded: A walk of what is left that kept its objects. Where it is no walk of the same root, the least is
                walked that tells what is left.
        """
        if recorded is not None and recorded.model is self.model:
            reached, parameters = set(map(id, recorded.modules)), recorded.tensors.parameters
        else:
            reached, parameters = reach(self.model)
        now = object.__new__(Survey)
        now.model, now.tree, now.parameters = self.model, self.tree, parameters
        now.holders = [holder for holder in self.holders if id(holder.module) in reached]
        now.hooked = [holder for holder in self.hooked if id(holder.module) in reached]
        now.containers = [
            Container(container.module, container.owner, container.name, *_contents(vars(container.module)))
            for container in self.containers
            if id(container.module) in reached
        ]
        now.groups, now.shared, now.adopted = [], self.shared, self.adopted
        now.places = [
            Place(parent, name, module, row)
            for parent, name, _, row in self.places
            if id(parent) in reached
            and (module := vars(parent)["_modules"].get(name)) is not None
            and is_wrapper(type(module))
        ]
        now.registries, now.registry_owners = [], []
        for owner, attribute, row in self.registry_owners:
            if id(owner) in reached:
                now._add_registry(owner, attribute, row)
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


def _contents(slots: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Keys of a container, and whether names may live elsewhere in it too."""
    inner, parameters, buffers, left_out = _STORES(slots)
    keys = tuple(dict.fromkeys((*inner, *parameters, *buffers)) if parameters or buffers else inner)
    listed = slots.get("_keys")
    return keys, bool(left_out) or bool(listed and listed.keys() != dict.fromkeys(keys).keys())


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


@functools.lru_cache(maxsize=4096)
def _dict_like(names: tuple[str, ...], classes: tuple[type, ...]) -> tuple[str, ...]:
    """Which children of a module can be containers by adapter; layers alike have children alike."""
    return tuple(name for name, cls in zip(names, classes, strict=True) if name not in _NOT_STATE and is_dict_like(cls))
