"""Serial numbers for objects, so that a snapshot can name an object without holding it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any


class _Reference(weakref.ref[Any]):
    """A weak reference that knows the `id()` its object had."""

    __slots__ = ("key",)
    key: int


class IdentityRegistry:
    """Gives each object a serial number that is never used for another one.

    Only weak references are held. The entry of an object goes when the object goes, before Python can give its
    `id()` to a new one.
    """

    def __init__(self) -> None:
        self._serial_by_id: dict[int, int] = {}
        self._reference_by_id: dict[int, _Reference] = {}
        self._next = 0

    def serials(self, objects: Sequence[Any]) -> list[int]:
        """The serial number of each object, a new one for an object not seen before."""
        known = list(map(self._serial_by_id.get, map(id, objects)))
        if None not in known:
            return known  # type: ignore[return-value]
        return [self._register(item) if serial is None else serial for serial, item in zip(known, objects, strict=True)]

    def _register(self, item: Any) -> int:
        key = id(item)
        serial = self._serial_by_id.get(key)  # the same new object may occur twice in one call
        if serial is None:
            reference = _Reference(item, self._forget)
            reference.key = key
            self._reference_by_id[key] = reference
            serial = self._serial_by_id[key] = self._next
            self._next += 1
        return serial

    def _forget(self, reference: _Reference) -> None:
        if self._reference_by_id.get(reference.key) is reference:
            del self._reference_by_id[reference.key], self._serial_by_id[reference.key]


REGISTRY = IdentityRegistry()
"""The registry of this process; it is also the scope within which identities can be compared."""
