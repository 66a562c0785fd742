"""An oracle for models: two models, or one model at two moments, compared to the last detail.

It shares no code with peftviz and knows nothing about adapters beyond which classes are PEFT's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch

SLOTS = frozenset(vars(torch.nn.Module()))

ACTIVE = ("active_adapter", "_active_adapter")
"""A string in one place and a list in another, with the same meaning."""


def from_peft(cls: type) -> bool:
    return any(base.__module__.partition(".")[0] == "peft" for base in cls.__mro__)


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def describe(model: torch.nn.Module) -> dict[str, Any]:
    """Everything about a model that another model built the same way must share, by path."""
    facts: dict[str, Any] = {}
    first_path: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        slots = vars(module)
        facts[f"{path}: class"] = qualified(type(module))
        facts[f"{path}: training"] = module.training
        facts[f"{path}: children"] = list(slots["_modules"])
        facts[f"{path}: same module as"] = first_path.setdefault(id(module), path)
        for kind in ("_parameters", "_buffers"):
            facts[f"{path}: {kind}"] = list(slots[kind])
            for name, tensor in slots[kind].items():
                facts[f"{path}.{name}: same tensor as"] = tensor is not None and first_path.setdefault(
                    id(tensor), f"{path}.{name}"
                )
                facts[f"{path}.{name}"] = plain(tensor)
        facts[f"{path}: non-persistent"] = sorted(slots["_non_persistent_buffers_set"])
        for slot in SLOTS:
            if slot.endswith("_hooks"):
                facts[f"{path}: {slot}"] = [function_name(hook) for hook in (slots[slot] or {}).values()]
        own = {name: value for name, value in slots.items() if name not in SLOTS}
        facts[f"{path}: attributes"] = sorted(own)
        for name, value in own.items():
            if from_peft(type(module)) or isinstance(value, (bool, int, float, str)):
                facts[f"{path}.{name}"] = as_list(value) if name in ACTIVE else plain(value)
    return facts


def differences(left: torch.nn.Module, right: torch.nn.Module) -> list[str]:
    """What is different about two models, in words; empty when they are equal."""
    return list(compare(describe(left), describe(right)))


def compare(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[str]:
    for key in [*left, *(key for key in right if key not in left)]:
        if key not in left:
            yield f"only right: {key} = {str(right[key])[:120]}"
        elif key not in right:
            yield f"only left: {key} = {str(left[key])[:120]}"
        elif left[key] != right[key]:
            yield f"{key}: {str(left[key])[:160]} != {str(right[key])[:160]}"


def as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else value


def function_name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__name__)


def plain(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.Tensor):
        values = None if value.is_meta else value.detach().cpu().flatten().tolist()
        return (
            qualified(type(value)),
            str(value.dtype),
            str(value.device),
            list(value.shape),
            value.requires_grad,
            repr(values),
        )
    if depth > 6:
        return qualified(type(value))
    if isinstance(value, torch.nn.Module):
        return ("module", qualified(type(value)))
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item, depth + 1) for item in value), key=repr)
    if callable(value):
        return function_name(value)
    attributes = getattr(value, "__dict__", None)
    if from_peft(type(value)) and isinstance(attributes, dict):
        return (qualified(type(value)), {name: plain(item, depth + 1) for name, item in attributes.items()})
    return qualified(type(value))


def photograph(model: torch.nn.Module) -> dict[str, Any]:
    """A model at one moment, object for object: identities, orders, flags, values. For the same process only."""
    taken: dict[str, Any] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        taken[f"{path}: identity"] = id(module)
        for name, value in vars(module).items():
            taken[f"{path}.{name}"] = exact(value)
        taken[f"{path}: order"] = list(vars(module))
    for path, tensor in [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]:
        storage = tensor.untyped_storage().data_ptr()
        taken[f"{path}: tensor"] = (id(tensor), tensor.requires_grad, storage, plain(tensor))
    return taken


def exact(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if depth < 6 and isinstance(value, dict):
        return (id(value), [(str(key), exact(item, depth + 1)) for key, item in value.items()])
    if depth < 6 and isinstance(value, (list, tuple)):
        return (id(value), [exact(item, depth + 1) for item in value])
    if depth < 6 and isinstance(value, (set, frozenset)):
        return (id(value), sorted(map(repr, value)))
    if depth < 6 and from_peft(type(value)) and not isinstance(value, torch.nn.Module) and hasattr(value, "__dict__"):
        return (id(value), exact(vars(value), depth + 1))
    return id(value)
