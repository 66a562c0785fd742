"""The plain attributes of PEFT's modules, and the hooks of any module, as canonical JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
import marshal
from collections.abc import Mapping
from typing import Any

import torch

from peftviz.live.interning import Interner
from peftviz.live.peft_facts import CONSTRUCTION_ATTRIBUTES, is_peft_class

MODULE_SLOTS = frozenset(vars(torch.nn.Module()))
"""What every module has; the rest of `vars(module)` is its own state."""

HOOK_SLOTS = tuple(sorted(slot for slot in MODULE_SLOTS if slot.endswith("_hooks")))

NO_STATE = MODULE_SLOTS | CONSTRUCTION_ATTRIBUTES

MAX_DEPTH = 6


class StateInterner:
    """Interns the state of modules; layers alike share one entry.

    Most states hold nothing but numbers, strings and containers of them: `marshal` turns those into a key at C
    speed, and the JSON is made once for each distinct key.
    """

    def __init__(self) -> None:
        self.texts: Interner[str] = Interner([""])
        self._code_by_key: dict[bytes, int] = {}

    def code(self, attributes: Mapping[str, Any]) -> int:
        """Code of the state of a module with these instance attributes; 0 when it has none of its own."""
        own = {name: value for name, value in attributes.items() if name not in NO_STATE}
        if not own:
            return 0
        try:
            key = marshal.dumps(own, 2)
        except ValueError:  # holds an object that is no plain data
            return self.texts[to_json(own)]
        code = self._code_by_key.get(key)
        if code is None:
            code = self._code_by_key[key] = self.texts[to_json(own)]
        return code


def to_json(value: Any) -> str:
    """Canonical JSON of plain data and, by their type only, of other objects."""
    return json.dumps(describe(value), sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def describe(value: Any, depth: int = 0) -> Any:
    """A JSON value for any object: exact for plain data, a description for the rest, free of addresses."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.value if hasattr(type(value), "_value_repr_") else value
    if depth >= MAX_DEPTH:
        return {"!type": qualified_name(type(value))}
    if isinstance(value, torch.Tensor):
        return {"!type": qualified_name(type(value)), "shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, torch.nn.Module):
        return {"!type": qualified_name(type(value))}
    if isinstance(value, Mapping):
        return {str(key): describe(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((describe(item, depth + 1) for item in value), key=repr)
    if isinstance(value, (torch.dtype, torch.device, torch.Size)):
        return str(value)
    if isinstance(value, type) or callable(value):
        return {"!callable": callable_name(value)}
    description: dict[str, Any] = {"!type": qualified_name(type(value))}
    if is_peft_class(type(value)) and not dataclasses.is_dataclass(value) and hasattr(value, "__dict__"):
        description["attributes"] = describe(vars(value), depth + 1)
    return description


def hooks_json(attributes: Mapping[str, Any]) -> str:
    """The hooks of a module as a JSON list such as `["forward_pre:package.function"]`, `""` when it has none."""
    hooks = [
        f"{slot.strip('_').removesuffix('_hooks')}:{callable_name(hook)}"
        for slot in HOOK_SLOTS
        for hook in (attributes.get(slot) or {}).values()
    ]
    return json.dumps(hooks, ensure_ascii=True) if hooks else ""


def callable_name(value: Any) -> str:
    """Qualified name of a function, method, partial or class, free of addresses."""
    while isinstance(value, functools.partial):
        value = value.func
    function = getattr(value, "__func__", value)
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str):
        return qualified_name(type(value))
    return f"{getattr(function, '__module__', None) or '?'}.{name}"


def qualified_name(cls: type) -> str:
    """Module and qualified name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"
