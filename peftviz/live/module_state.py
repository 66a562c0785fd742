"""The plain attributes of PEFT's modules, and the hooks of any module, as canonical JSON."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import marshal
from collections.abc import Callable, Mapping
from operator import itemgetter
from types import NoneType
from typing import Any

import torch

from peftviz.live.interning import Interner
from peftviz.live.peft_facts import CONSTRUCTION_ATTRIBUTES, is_peft_class

MODULE_SLOTS = frozenset(vars(torch.nn.Module()))
"""What every module has; the rest of `vars(module)` is its own state."""

HOOK_SLOTS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""The hooks that run with the model; those of `state_dict` and `load_state_dict` are not recorded."""

NON_PERSISTENT = "_non_persistent_buffers_set"
"""Slot of every module: names of its buffers that are not saved. Names of no buffer any more are state."""

NO_STATE = MODULE_SLOTS | CONSTRUCTION_ATTRIBUTES

MAX_DEPTH = 6


class StateInterner:
    """Interns the state of modules; layers alike share one entry.

    Most states hold nothing but numbers, strings and containers of them, and equal those of the last layer with the
    same numbers. What is new is turned into a key by `marshal` at C speed, and into JSON once for each distinct key.
    """

    def __init__(self) -> None:
        self.texts: Interner[str] = Interner([""])
        self._code_by_key: dict[tuple[int, bytes], int] = {}
        self._layouts: dict[tuple[str, ...], tuple[int, tuple[str, ...], Callable[[Any], Any]]] = {}
        self._last: dict[tuple[int, Any], tuple[list[Any], int]] = {}

    def code(self, attributes: Mapping[str, Any]) -> int:
        """Code of the state of a module with these instance attributes; 0 when it has none of its own."""
        layout, names, scalars = self._layouts.get(keys := tuple(attributes)) or self._lay_out(keys, attributes)
        if not names:
            return 0
        values = [attributes[name] for name in names]
        if (unsaved := attributes.get(NON_PERSISTENT)) and not attributes["_buffers"].keys() >= unsaved:
            state = dict(zip(names, values, strict=True))
            return self.texts[to_json({**state, NON_PERSISTENT: unsaved - attributes["_buffers"].keys()})]
        try:
            mark = (layout, scalars(attributes))
            last = self._last.get(mark)
            if last is not None and last[0] == values:
                return last[1]
            key = (layout, marshal.dumps(values, 2))
        except Exception:  # it holds an object that is no plain data, or one that refuses to be compared
            return self.texts[to_json(dict(zip(names, values, strict=True)))]
        code = self._code_by_key.get(key)
        if code is None:
            code = self._code_by_key[key] = self.texts[to_json(dict(zip(names, values, strict=True)))]
        self._last[mark] = (values, code)
        return code

    def _lay_out(
        self, keys: tuple[str, ...], attributes: Mapping[str, Any]
    ) -> tuple[int, tuple[str, ...], Callable[[Any], Any]]:
        """Number, names and getter of the plain values among them, for modules whose `__dict__` has these keys."""
        names = tuple(name for name in keys if name not in NO_STATE)
        plain = [name for name in names if isinstance(attributes[name], (bool, int, float, str, NoneType))]
        self._layouts[keys] = (len(self._layouts), names, itemgetter(*plain) if plain else lambda _: None)
        return self._layouts[keys]


def to_json(value: Any) -> str:
    """Canonical JSON of plain data and, by their type only, of other objects."""
    return json.dumps(describe(value), sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def describe(value: Any, depth: int = 0) -> Any:
    """A JSON value for any object: exact for plain data, a description for the rest, free of addresses."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value.value if isinstance(value, enum.Enum) else value
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
