"""The plain attributes of PEFT's modules, and the hooks of any module, as canonical JSON."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import marshal
from collections.abc import Callable, Mapping, Sequence
from itertools import compress, groupby
from operator import itemgetter, methodcaller
from types import NoneType
from typing import Any

import torch

from peftviz.live.peft_facts import CONSTRUCTION_ATTRIBUTES, is_peft_class
from peftviz.live.snapshots.interning import Interner

MODULE_SLOTS = frozenset(vars(torch.nn.Module()))
"""What every module has; the rest of `vars(module)` is its own state."""

HOOK_SLOTS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""The hooks that run with the model; those of `state_dict` and `load_state_dict` are not recorded."""

NON_PERSISTENT = "_non_persistent_buffers_set"
"""Slot of every module: names of its buffers that are not saved. Names of no buffer any more are state."""

NO_STATE = MODULE_SLOTS | CONSTRUCTION_ATTRIBUTES

MAX_DEPTH = 6

_EXACT = frozenset({bool, int, float, str, NoneType})

_first, _second = itemgetter(0), itemgetter(1)
_unsaved = methodcaller("get", NON_PERSISTENT)


class _Layout:
    """Modules whose `__dict__` has the same keys.

    Attributes:
        number: Tells layouts apart.
        names: The keys that are state.
        scalars: Gets the plain ones among them from a `__dict__`.
        others: Gets the other ones.
        latest: The other values and the code of the last module, by its scalars.
    """

    __slots__ = ("latest", "names", "number", "others", "scalars")

    def __init__(self, number: int, attributes: Mapping[str, Any]) -> None:
        self.number = number
        self.names = tuple(name for name in attributes if name not in NO_STATE)
        plain = [name for name in self.names if isinstance(attributes[name], (bool, int, float, str, NoneType))]
        self.scalars = _getter(plain)
        self.others = _getter([name for name in self.names if name not in plain])
        self.latest: dict[Any, tuple[Any, int]] = {}


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    """Gets the values of some keys: those of several as a tuple, that of a single one as it is."""
    return itemgetter(*names) if names else lambda _: None


class StateInterner:
    """Interns the state of modules; layers alike share one entry.

    Most states hold nothing but numbers, strings and containers of them, and equal those of the last layer with the
    same numbers. What is new is turned into a key by `marshal` at C speed, and into JSON once for each distinct key.
    """

    def __init__(self) -> None:
        self.texts: Interner[str] = Interner([""])
        self._code_by_key: dict[tuple[int, bytes], int] = {}
        self._layouts: dict[tuple[str, ...], _Layout] = {}

    def codes(self, modules: list[dict[str, Any]]) -> list[int]:
        """Code of the state of each module with these instance attributes; 0 for one that has none of its own."""
        keys = list(map(tuple, modules))
        codes: list[int] = []
        for key, alike in groupby(keys):  # layers alike mostly come in a row
            start = len(codes)
            layout = self._layouts.get(key)
            if layout is None:
                layout = self._layouts[key] = _Layout(len(self._layouts), modules[start])
            codes += self._codes_of_alike(layout, modules[start : start + len(list(alike))])
        for index in compress(range(len(modules)), map(_unsaved, modules)):
            if gone := modules[index][NON_PERSISTENT] - modules[index]["_buffers"].keys():
                state = {name: modules[index][name] for name in self._layouts[keys[index]].names}
                codes[index] = self.texts[to_json({**state, NON_PERSISTENT: gone})]
        return codes

    def _codes_of_alike(self, layout: _Layout, modules: list[dict[str, Any]]) -> list[int]:
        if not layout.names:
            return [0] * len(modules)
        if len(modules) == 1:
            return [self._code(layout, modules[0])]
        try:
            marks = list(map(layout.scalars, modules))
            for mark, module in dict(zip(marks, modules, strict=True)).items():
                if mark not in layout.latest:
                    self._code(layout, module)
            latest = list(map(layout.latest.__getitem__, marks))
            if list(map(layout.others, modules)) == list(map(_first, latest)):
                return list(map(_second, latest))
        except Exception:  # what was a scalar is none any more, or values are no plain data or refuse to be compared
            pass
        return [self._code(layout, module) for module in modules]

    def _code(self, layout: _Layout, attributes: Mapping[str, Any]) -> int:
        try:
            mark, others = layout.scalars(attributes), layout.others(attributes)
            latest = layout.latest.get(mark)
            if latest is not None and latest[0] == others:
                return latest[1]
            key = (layout.number, marshal.dumps((mark, others), 2))
        except Exception:  # it holds an object that is no plain data, or one that refuses to be compared
            return self.texts[_state_json(layout, attributes)]
        code = self._code_by_key.get(key)
        if code is None:
            code = self._code_by_key[key] = self.texts[_state_json(layout, attributes)]
        layout.latest[mark] = (others, code)
        return code


def _state_json(layout: _Layout, attributes: Mapping[str, Any]) -> str:
    return to_json({name: attributes[name] for name in layout.names})


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
        if _EXACT.issuperset(map(type, value)):  # PEFT keeps the names of all its layers in one list
            return list(value)
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
    hooks = [hook_text(slot, hook) for slot in HOOK_SLOTS for hook in (attributes.get(slot) or {}).values()]
    return json.dumps(hooks, ensure_ascii=True) if hooks else ""


def hook_text(slot: str, hook: Any) -> str:
    """A hook as a snapshot has it: when it runs, and its function."""
    return f"{slot.strip('_').removesuffix('_hooks')}:{callable_name(hook)}"


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
