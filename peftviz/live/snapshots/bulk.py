"""Reads many dictionaries in one call."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import methodcaller
from typing import TypeVar

V = TypeVar("V")

_values = methodcaller("values")
_PLAIN = {dict}


def values_of(mappings: Sequence[Mapping[str, V]]) -> list[V]:
    """The values of some mappings, one mapping after the other, each in its order.

    The garbage collector can list what objects refer to, which for a dictionary with string keys is its values in their
    order: one loop in C, several times faster than to ask each for its values, and most of all where memory is slow.
    Anything else (an `OrderedDict` keeps an order of its own, other keys are referred to as well) is asked.
    """
    if set(map(type, mappings)) == _PLAIN:
        found = gc.get_referents(*mappings)
        if len(found) == sum(map(len, mappings)):
            return found
    return list(chain.from_iterable(map(_values, mappings)))
