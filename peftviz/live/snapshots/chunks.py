"""Reads a chunk of modules: all that a capture wants of their slots, while they are in the processor's cache.

There are two readers of one meaning. `_chunks.c` is used where it was compiled, and leaves what is out of the ordinary
to the one in Python, which reads everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, compress, repeat
from operator import contains, is_not, itemgetter, or_
from typing import Any, NamedTuple

import numpy as np
import torch

from peftviz.core.tables import IntArray
from peftviz.live.peft_facts import REGISTRY_ATTRIBUTES
from peftviz.live.snapshots.bulk import dicts_of, values_of
from peftviz.live.snapshots.interning import Interner

_compiled: Callable[..., Any] | None = None
try:
    from peftviz.live.snapshots._chunks import read_chunk as _read_chunk
except ImportError:  # installed without a compiler, or for a Python without CPython's stable interface
    pass
else:
    _compiled = _read_chunk

_EMPTY_SLOTS = {**vars(torch.nn.Module()), "training": False}

# A flag stands for the backward hooks: to look into each hook dictionary costs as much as the walk itself. The order is
# that in which a module makes them, so that they are read in the order in which they lie in memory.
_fields = itemgetter(
    *("training", "_parameters", "_buffers", "_backward_pre_hooks", "_is_full_backward_hook"),
    *("_forward_hooks", "_forward_pre_hooks", "_modules"),
)


class Entries(NamedTuple):
    """What one slot of each module of a chunk holds, module by module; entries that are None are left out.

    Attributes:
        values: The children, parameters or buffers.
        owners: Index in the chunk of the module that holds it.
        names: Code of its name.
    """

    values: list[Any]
    owners: IntArray
    names: IntArray


class Chunk(NamedTuple):
    """Some modules, read.

    Attributes:
        ids: The `id()` of each.
        types: Code of the class of each.
        dicts: The `__dict__` of each, or what stands for it.
        training: Whether each is in training mode, a byte each.
        hooked: Index of each that may have hooks which run with it.
        registered: Index of each parent that has one of the attributes in which PEFT keeps adapter configs.
        children: The modules in them.
        parameters: Their parameters.
        buffers: Their buffers.
    """

    ids: IntArray
    types: IntArray
    dicts: Sequence[dict[str, Any]]
    training: bytes
    hooked: list[int]
    registered: list[int]
    children: Entries
    parameters: Entries
    buffers: Entries


def is_compiled() -> bool:
    """Whether the compiled reader is there."""
    return _compiled is not None


def read_chunk(modules: list[torch.nn.Module], types: Interner[type], names: Interner[str]) -> Chunk:
    """Reads some modules.

    Args:
        modules: The modules; no one changes the list meanwhile.
        types: Interned classes.
        names: Interned attribute names.
    """
    return read_compiled(modules, types, names) or read_in_python(modules, types, names)


def read_compiled(modules: list[torch.nn.Module], types: Interner[type], names: Interner[str]) -> Chunk | None:
    """As `read_chunk`; None where there is no compiled reader, and for a chunk that it leaves to the one in Python."""
    if _compiled is None or (found := _compiled(modules, types, names, REGISTRY_ATTRIBUTES)) is None:
        return None
    ids, kinds, dicts, training, hooked, registered, *entries = found
    return Chunk(
        np.frombuffer(ids, np.int64),
        np.frombuffer(kinds, np.int32),
        dicts,
        training,
        hooked,
        registered,
        *(
            Entries(values, np.frombuffer(owners, np.int32), np.frombuffer(codes, np.int32))
            for values, owners, codes in entries
        ),
    )


def read_in_python(modules: list[torch.nn.Module], types: Interner[type], names: Interner[str]) -> Chunk:
    """As `read_chunk`, for modules of any kind."""
    count = len(modules)
    dicts = dicts_of(modules)
    try:
        fields = list(map(_fields, dicts))
    except KeyError:  # a module that keeps its slots elsewhere, such as a ScriptModule
        dicts = list(map(_slots_of, modules))
        fields = list(map(_fields, dicts))
    training, parameters, buffers, backward_pre, full_backward, forward, forward_pre, children = zip(
        *fields, strict=True
    )
    hooked: list[int] = []
    if any(forward) or any(forward_pre) or any(backward_pre) or full_backward.count(None) < count:
        hooks = zip(forward, forward_pre, backward_pre, full_backward, strict=True)
        hooked = [
            index
            for index, (before, after, backward, flag) in enumerate(hooks)
            if before or after or backward or flag is not None
        ]
    own, outer = (map(contains, compress(dicts, children), repeat(attribute)) for attribute in REGISTRY_ATTRIBUTES)
    return Chunk(
        ids=np.fromiter(map(id, modules), np.int64, count),
        types=np.fromiter(map(types.__getitem__, map(type, modules)), np.int32, count),
        dicts=dicts,
        training=b"\1" * count if training.count(True) == count else bytes(map(bool, training)),
        hooked=hooked,
        registered=list(compress(compress(range(count), children), map(or_, own, outer))),
        children=_entries(children, names),
        parameters=_entries(parameters, names),
        buffers=_entries(buffers, names),
    )


def _entries(mappings: Sequence[Mapping[str, Any]], names: Interner[str]) -> Entries:
    own = list(compress(mappings, mappings))
    if not own:
        return _NO_ENTRIES
    values = values_of(own)
    counts = np.fromiter(map(len, mappings), np.int32, len(mappings))
    owners = np.repeat(np.arange(len(mappings), dtype=np.int32), counts)
    codes = np.fromiter(map(names.__getitem__, chain.from_iterable(own)), np.int32, len(owners))
    present = np.frombuffer(bytes(map(is_not, values, repeat(None))), bool)
    if present.all():
        return Entries(values, owners, codes)
    return Entries(list(compress(values, present)), owners[present], codes[present])


_NO_ENTRIES = Entries([], np.zeros(0, np.int32), np.zeros(0, np.int32))


def _slots_of(module: torch.nn.Module) -> dict[str, Any]:
    """The slots of a module that lacks some in its `__dict__`, read through its attributes where it has them."""
    slots: dict[str, Any] = {}
    for slot, default in _EMPTY_SLOTS.items():
        value = getattr(module, slot, default)
        slots[slot] = dict(value.items()) if slot in ("_modules", "_parameters", "_buffers") else value
    return slots
