"""One walk of a model that collects what deletion has to look at: PEFT's modules, their containers, the registries."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

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
    is_peft_class,
    is_tuner_layer,
    once_a_class,
)

if TYPE_CHECKING:
    from collections.abc import MutableMapping

Chain = tuple[Any, str, torch.nn.Module] | None
"""Where a module was met: the chain of its parent, its name there, the parent."""

_NOT_STATE = frozenset((*WRAPPED_SLOTS, *MODEL_SLOTS))

_PLAIN, _CONTAINER, _PEFT = range(3)


class Holder:
    """One of PEFT's modules, or a container or a hooked module, and where it was met first."""

    __slots__ = ("chain", "is_container", "module", "name", "owner")

    def __init__(
        self, module: torch.nn.Module, chain: Chain, *, is_container: bool = False, owner: Holder | None = None
    ) -> None:
        self.module = module
        self.chain = chain
        self.is_container = is_container
        self.owner = owner
        self.name = chain[1] if chain else ""

    @property
    def path(self) -> str:
        """Dotted path from the model."""
        return chain_path(self.chain)


class Survey:
    """What one walk found.

    Attributes:
        model: The root.
        holders: PEFT's modules in preorder, those inside adapters' own containers included.
        containers: Containers that modules of PEFT's hold, each once; `owner` is the holder.
        places: Every place of a wrapper: its parent, the name there, the wrapper itself, the chain.
        registries: Path and dictionary of each config registry, distinct dictionaries only.
        registry_owners: Modules that hold a registry attribute, with the attribute.
        hooked: Modules with forward hooks.
        parameters: Every parameter of the model once, in order.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.holders: list[Holder] = []
        self.containers: list[Holder] = []
        self.places: list[tuple[torch.nn.Module, str, torch.nn.Module, Chain]] = []
        self.registries: list[tuple[str, MutableMapping[str, Any]]] = []
        self.registry_owners: list[tuple[torch.nn.Module, str, Chain]] = []
        self.hooked: list[Holder] = []
        self.parameters: list[torch.nn.Parameter] = []
        self._walk()

    def _walk(self) -> None:
        seen: set[int] = set()
        category_of: dict[type, int] = {}
        containers: set[int] = set()
        registries: set[int] = set()
        parameters: list[torch.nn.Parameter | None] = []
        stack: list[tuple[torch.nn.Module, Chain]] = [(self.model, None)]
        while stack:
            module, chain = stack.pop()
            cls = type(module)
            category = category_of.get(cls)
            if category is None:
                category = category_of[cls] = _category(cls)
            if category == _PEFT and chain is not None and is_wrapper(cls):
                self.places.append((chain[2], chain[1], module, chain))
            if id(module) in seen:
                continue
            seen.add(id(module))
            slots = module.__dict__
            children = slots.get("_modules")
            if children is None:  # a ScriptModule keeps its slots elsewhere
                children = dict(module.named_children())
            else:
                if slots["_parameters"]:
                    parameters += slots["_parameters"].values()
                if slots["_forward_hooks"] or slots["_forward_pre_hooks"]:
                    self.hooked.append(Holder(module, chain))
                if category == _PEFT or "peft_config" in slots:
                    self._collect(module, chain, category, containers, registries)
            if children:
                stack += [
                    (child, (chain, name, module)) for name, child in reversed(children.items()) if child is not None
                ]

        self.parameters = list({id(item): item for item in parameters if item is not None}.values())

    def _collect(
        self, module: torch.nn.Module, chain: Chain, category: int, containers: set[int], registries: set[int]
    ) -> None:
        slots = vars(module)
        for attribute in REGISTRY_ATTRIBUTES:
            registry: Any = slots.get(attribute)
            if is_registry(registry):
                self.registry_owners.append((module, attribute, chain))
                if id(registry) not in registries:
                    registries.add(id(registry))
                    self.registries.append((chain_path(chain), registry))
        if category != _PEFT:
            return
        holder = Holder(module, chain, is_container=is_dict_like(type(module)))
        self.holders.append(holder)
        if holder.is_container:
            return
        for name, child in slots["_modules"].items():
            if (
                child is not None
                and name not in _NOT_STATE
                and is_dict_like(type(child))
                and id(child) not in containers
            ):
                containers.add(id(child))
                self.containers.append(Holder(child, (chain, name, module), is_container=True, owner=holder))

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
        for container in self.containers:
            found.update(dict.fromkeys(keys_of(container.module)))
        return list(found)

    @functools.cached_property
    def living(self) -> list[str]:
        """Adapters that count: the registered ones in config order; without any registry, those with layer weights."""
        if self.registries:
            return list(self.configs)
        followers = {id(module) for parent, _, module, _ in self.places if is_auxiliary_wrapper(type(parent))}
        found: dict[str, None] = {}
        for container in self.containers:
            owner = container.owner
            if owner is not None and is_tuner_layer(type(owner.module)) and id(owner.module) not in followers:
                found.update(dict.fromkeys(keys_of(container.module)))
        return list(found)


def chain_path(chain: Chain) -> str:
    """Dotted path of a chain."""
    parts = []
    while chain is not None:
        parts.append(chain[1])
        chain = chain[0]
    return ".".join(reversed(parts))


def keys_of(container: torch.nn.Module) -> list[str]:
    """Keys of a container in order."""
    slots = vars(container)
    return list(dict.fromkeys((*slots["_modules"], *slots["_parameters"], *slots["_buffers"])))


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


def _category(cls: type) -> int:
    if is_peft_class(cls):
        return _PEFT
    return _CONTAINER if is_dict_like(cls) else _PLAIN
