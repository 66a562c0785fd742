"""PEFT's modules that read the same, so that what their attributes mean is judged once for all of them."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from peftviz.live.removal.sweep import UNSEARCHED

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet

    from peftviz.live.removal.survey import Holder

_NOT_PLAIN = ("!type", "!callable")
"""Keys that the record of a module's state has in the place of an object that is no plain data."""


class Alike:
    """Modules of one class whose recorded states are equal: mostly all layers of one shape.

    The walk has recorded the instance attributes of each of PEFT's modules, exact for plain data, and interned what is
    equal. So one look at a record says for hundreds of layers what each of them would say. Objects that are no plain
    data are recorded by their type only: what they hold has to be looked for in each module.

    Args:
        holders: The modules, in preorder.
        state: The record, as JSON; None for what lies outside the tree that was walked.
    """

    def __init__(self, holders: list[Holder], state: str | None) -> None:
        self.holders = holders
        self.first = holders[0]
        self.cls = type(self.first.module)
        self.of_containers = self.first.is_container
        self._state = state

    def __len__(self) -> int:
        return len(self.holders)

    @functools.cached_property
    def described(self) -> dict[str, Any] | None:
        """The record: attributes to plain data, None where there is none."""
        if self._state is None:
            return None
        return json.loads(self._state) if self._state else {}

    def carriers(self, names: Collection[str]) -> tuple[str, ...]:
        """Attributes in which one of the names may live, in their order; what is left out has none."""
        attributes = [attribute for attribute in vars(self.first.module) if attribute not in UNSEARCHED]
        if self.described is None:
            return tuple(attributes)
        return tuple(attribute for attribute in attributes if _may_carry(self.described.get(attribute), names))

    def keyed(self, attribute: str, names: AbstractSet[str], known: AbstractSet[str]) -> list[str]:
        """Names that are keys of an attribute, if that is a dictionary by adapter: what is under others is theirs."""
        value = vars(self.first.module)[attribute]
        if type(value) is dict and value.keys() <= known and self.described is not None:
            return [name for name in value if name in names]
        return []

    def may_hold_tensors(self, names: Collection[str]) -> list[str]:
        """Attributes that may be dictionaries with tensors under one of the names."""
        if self.described is None:
            return [attribute for attribute in vars(self.first.module) if attribute not in UNSEARCHED]
        return [
            attribute
            for attribute, value in self.described.items()
            if attribute not in UNSEARCHED
            and isinstance(value, dict)
            and any(isinstance(value.get(name), (dict, list)) for name in names)
        ]


def _may_carry(value: Any, names: Collection[str]) -> bool:
    if isinstance(value, str):
        return value in names
    if isinstance(value, list):
        return any(_may_carry(item, names) for item in value)
    if isinstance(value, dict):
        return any(mark in value for mark in _NOT_PLAIN) or any(
            key in names or _may_carry(item, names) for key, item in value.items()
        )
    return False
