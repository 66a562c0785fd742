"""Says in a few words with which arguments an operation was called. Values are untrusted: none of their code is run."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import os
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from peftviz.live.peft_facts import CONFIG_BOOKKEEPING

MAX_LENGTH = 120
MAX_ITEMS = 6
MAX_DEPTH = 3
MAX_MESSAGE = 1000
ADAPTER_PARAMETERS = ("adapter_name", "adapter_names", "new_adapter_name", "adapter")

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}\b")


def describe_call(
    signature: inspect.Signature | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Names the arguments of a call, without `self`, `cls` and empty `*args`/`**kwargs`.

    Args:
        signature: Of the function called, or None when it has none.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Returns:
        The values passed, by parameter name, in the order of the signature. A call that does not fit the signature
        is numbered: `{"0": ...}`.
    """
    if signature is not None:
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError:
            pass
        else:
            named: dict[str, Any] = {}
            for name, value in bound.items():
                kind = signature.parameters[name].kind
                if kind is inspect.Parameter.VAR_KEYWORD:
                    named.update(value)
                elif name not in ("self", "cls"):
                    named[name] = value
            return named
    return {**{str(position): value for position, value in enumerate(args)}, **kwargs}


def call_label(operation: str, arguments: Mapping[str, Any]) -> str:
    """The operation and the adapter it is about, as in `"add_adapter('b')"`."""
    for name in ADAPTER_PARAMETERS:
        if isinstance(arguments.get(name), (str, list, tuple)):
            return f"{operation}({short_text(arguments[name])})"
    return operation


def texts(arguments: Mapping[str, Any]) -> Mapping[str, str]:
    """The arguments as short texts."""
    return MappingProxyType({name: short_text(value) for name, value in arguments.items()})


def short_text(value: Any, depth: int = MAX_DEPTH) -> str:
    """A short text of a value that is the same in every run: no address, no set order, no `__repr__` of its own."""
    text = _text(value, depth)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def _text(value: Any, depth: int) -> str:
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, str):
        return str.__repr__(value[: MAX_LENGTH + 1])
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, os.PathLike):
        return f"{type(value).__name__}({str.__repr__(os.fsdecode(value))})"
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, dict):
        if depth <= 0:
            return "{…}"
        pairs = [f"{short_text(key, 0)}: {short_text(item, depth - 1)}" for key, item in _few(dict.items(value))]
        return "{" + _items(pairs, value) + "}"
    if isinstance(value, (list, tuple)):
        inner = _items([short_text(item, depth - 1) for item in _few(value)], value) if depth > 0 else "…"
        return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, (set, frozenset)):
        if not value:
            return "set()"
        return "{" + _items(sorted(short_text(item, depth - 1) for item in value)[:MAX_ITEMS], value) + "}"
    if dataclasses.is_dataclass(value) and depth > 0:
        return f"{type(value).__name__}({', '.join(_set_fields(value, depth))})"
    if callable(value) and hasattr(type(value), "__get__"):
        return str(getattr(value, "__qualname__", type(value).__name__))
    return type(value).__name__


def _set_fields(value: Any, depth: int) -> list[str]:
    """Fields of a config that differ from their defaults."""
    shown = []
    held = vars(value) if hasattr(value, "__dict__") else {}
    for entry in dataclasses.fields(value):
        if not entry.repr or entry.name not in held or entry.name in CONFIG_BOOKKEEPING:
            continue
        now = held[entry.name]
        default = entry.default
        if default is dataclasses.MISSING and entry.default_factory is not dataclasses.MISSING:
            default = entry.default_factory()
        text = short_text(now, depth - 1)
        if default is dataclasses.MISSING or text != short_text(default, depth - 1):
            shown.append(f"{entry.name}={text}")
    return shown


def _few(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(MAX_ITEMS), strict=False)]


def _items(shown: list[str], value: Any) -> str:
    return ", ".join(shown) + (f", … {len(value) - MAX_ITEMS} more" if len(value) > MAX_ITEMS else "")


def error_text(error: BaseException) -> str:
    """An exception as `"KeyError: 'b'"`, without addresses."""
    try:
        message = str(error)
    except Exception:
        message = "(a message that cannot be read)"
    name = type(error).__name__
    return f"{name}: {message_text(message)}" if message else name


def message_text(text: str) -> str:
    """A message that is the same in every run and of bounded length."""
    text = _ADDRESS.sub("0x…", text)
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
