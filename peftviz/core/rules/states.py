"""What the instance attributes of a PEFT module say, read once for each distinct state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ACTIVE_OF_LAYER = "_active_adapter"
ACTIVE_OF_HANDLE = "active_adapter"
DISABLED = "_disable_adapters"
MERGED = "merged_adapters"
NON_PERSISTENT = "_non_persistent_buffers_set"
"""Names of buffers that are not saved; a state lists those of which there is no buffer any more."""
REGISTRIES = frozenset({"peft_config", "_peft_config"})


@dataclass(frozen=True)
class StateFacts:
    """One distinct state.

    Attributes:
        active: Names in `_active_adapter` of a layer or wrapper; None when the module has no such attribute.
        handle_active: Names in `active_adapter` of a tuner or `PeftModel`; None likewise.
        disabled: Value of `_disable_adapters`.
        merged: Names in `merged_adapters`; None when the module has no such attribute, as only tuner layers have it.
        keyed: Attribute (dotted when nested) and keys of each dictionary whose values are of one kind.
        strings: Attribute and values of the strings and lists of strings that could be adapter names.
    """

    active: tuple[str, ...] | None
    handle_active: tuple[str, ...] | None
    disabled: bool
    merged: tuple[str, ...] | None
    keyed: tuple[tuple[str, tuple[str, ...]], ...]
    strings: tuple[tuple[str, tuple[str, ...]], ...]


NO_STATE = StateFacts(None, None, False, None, (), ())


def read_state(text: str) -> StateFacts:
    """Reads the JSON of one distinct state."""
    if not text:
        return NO_STATE
    state: Mapping[str, Any] = json.loads(text)
    keyed: list[tuple[str, tuple[str, ...]]] = []
    strings: list[tuple[str, tuple[str, ...]]] = []
    for attribute, value in state.items():
        if attribute in REGISTRIES or attribute == ACTIVE_OF_HANDLE:
            continue
        for path, found, is_keyed in _walk(attribute, value):
            (keyed if is_keyed else strings).append((path, found))
    return StateFacts(
        active=as_names(state[ACTIVE_OF_LAYER]) if ACTIVE_OF_LAYER in state else None,
        handle_active=as_names(state[ACTIVE_OF_HANDLE]) if ACTIVE_OF_HANDLE in state else None,
        disabled=bool(state.get(DISABLED)),
        merged=as_names(state[MERGED]) if MERGED in state else None,
        keyed=tuple(keyed),
        strings=tuple(strings),
    )


def as_names(value: Any) -> tuple[str, ...]:
    """Adapter names from a value that is a string in some PEFT versions and a list in others."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _walk(attribute: str, value: Any) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yields every dictionary's keys and every run of strings below one attribute."""
    if isinstance(value, str):
        if _could_be_name(value):
            yield attribute, (value,), False
    elif isinstance(value, list):
        names = tuple(item for item in value if isinstance(item, str) and _could_be_name(item))
        if names:
            yield attribute, names, False
        for item in value:
            if isinstance(item, (dict, list)):
                yield from _walk(attribute, item)
    elif isinstance(value, dict) and "!callable" not in value:
        described = "!type" in value
        if described:  # an object: its attributes are no adapter names, what they hold may be
            value = value.get("attributes") or {}
        elif value and len({_kind(item) for item in value.values()} - {"null"}) <= 1:
            yield attribute, tuple(value), True
        for key, item in value.items():
            if key != "!type":
                yield from _walk(f"{attribute}.{key}" if described else attribute, item)


def _could_be_name(text: str) -> bool:
    return bool(text) and "." not in text  # no container of PyTorch's takes a key with a dot


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return type(value).__name__
