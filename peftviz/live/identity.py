"""Serial numbers for objects, so that a snapshot can name an object without holding it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from operator import is_
from typing import Any


class IdentityRegistry:
    """Gives each object a serial number that is never used for another one.

    Only weak references are held. An `id()` that Python recycles for a new object is told apart, because the
    weak reference stored under it is dead by then.
    """

    def __init__(self) -> None:
        self._serial_by_id: dict[int, int] = {}
        self._refs: list[weakref.ref[Any] | None] = []
        self._purge_at = 1 << 16

    def serials(self, objects: Sequence[Any]) -> list[int]:
        """The serial number of each object, a new one for an object not seen before."""
        ids = list(map(id, objects))
        known = list(map(self._serial_by_id.get, ids))
        refs = self._refs
        if None not in known and all(map(is_, [refs[serial]() for serial in known], objects)):  # type: ignore[misc, index]
            return known  # type: ignore[return-value]
        return [self._serial(key, item) for key, item in zip(ids, objects, strict=True)]

    def _serial(self, key: int, item: Any) -> int:
        serial = self._serial_by_id.get(key)
        if serial is not None:
            ref = self._refs[serial]
            if ref is not None and ref() is item:
                return serial
        serial = self._serial_by_id[key] = len(self._refs)
        self._refs.append(weakref.ref(item))
        if len(self._serial_by_id) >= self._purge_at:
            self._purge()
        return serial

    def _purge(self) -> None:
        """Forgets the dead, so that a long session does not grow without end."""
        for key, serial in list(self._serial_by_id.items()):
            ref = self._refs[serial]
            if ref is None or ref() is None:
                del self._serial_by_id[key]
        kept = set(self._serial_by_id.values())
        self._refs = [ref if serial in kept else None for serial, ref in enumerate(self._refs)]
        self._purge_at = max(1 << 16, 2 * len(self._serial_by_id))


REGISTRY = IdentityRegistry()
"""The registry of this process; it is also the scope within which identities can be compared."""
