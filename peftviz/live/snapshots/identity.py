"""Serial numbers for objects, so that a snapshot can name an object without holding it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

import numpy as np

from peftviz.core.tables import IntArray

_key = attrgetter("key")
_BEYOND_ALL = np.iinfo(np.int64).max


class _Reference(weakref.ref[Any]):
    """A weak reference that knows the `id()` its object had."""

    __slots__ = ("key",)
    key: int


class IdentityRegistry:
    """Gives each object a serial number that is never used for another one.

    Only weak references are held. When an object goes, Python says so before it can give its `id()` to a new one, at
    any time and in any thread: it is noted then, without a function in Python, and the entry is taken out before
    anything is looked up again.

    The entries are two sorted columns, not a dictionary: looking up a few hundred objects at once is several times
    faster in them, because a dictionary of half a million entries is in no cache.
    """

    def __init__(self) -> None:
        self._ids = np.array([_BEYOND_ALL])  # ascending; the last entry spares a check of bounds
        self._serials = np.array([-1])
        self._references: dict[int, _Reference] = {}
        self._dead: list[_Reference] = []
        self._next = 0
        self._lock = threading.Lock()

    def serials(self, objects: Sequence[Any], ids: IntArray | None = None) -> IntArray:
        """The serial number of each object, a new one for an object not seen before.

        Args:
            objects: Objects that can be referred to weakly.
            ids: The `id()` of each, where they are known already.
        """
        if ids is None:
            ids = np.fromiter(map(id, objects), np.int64, len(objects))
        with self._lock:
            if self._dead:
                self._drop_dead()
            places = np.searchsorted(self._ids, ids)
            known = self._ids[places] == ids
            if not known.all():
                unknown = np.flatnonzero(~known)
                self._register([objects[index] for index in unknown.tolist()], ids[unknown])
                places = np.searchsorted(self._ids, ids)
            return self._serials[places]

    def _register(self, objects: list[Any], ids: IntArray) -> None:
        new = dict(zip(ids.tolist(), objects, strict=True))
        references = list(map(_Reference, new.values(), repeat(self._dead.append)))
        for reference, key in zip(references, new, strict=True):
            reference.key = key
        self._references.update(zip(new, references, strict=True))
        keys = np.fromiter(new, np.int64, len(new))
        order = np.argsort(keys)
        keys = keys[order]
        places = np.searchsorted(self._ids, keys)  # to insert some is faster than to sort all again
        self._ids = np.insert(self._ids, places, keys)
        self._serials = np.insert(self._serials, places, self._next + order)
        self._next += len(new)

    def _drop_dead(self) -> None:
        count = len(self._dead)
        dead = list(map(_key, self._dead[:count]))
        for key in dead:
            self._references.pop(key, None)
        places = np.searchsorted(self._ids, dead)
        gone = places[self._ids[places] == dead]  # all of them, unless an interrupt came between two steps
        self._ids, self._serials = np.delete(self._ids, gone), np.delete(self._serials, gone)
        del self._dead[:count]


REGISTRY = IdentityRegistry()
"""The registry of this process; it is also the scope within which identities can be compared."""
