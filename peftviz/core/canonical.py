"""Gives snapshots that say the same the same numbers: codes and identities in the order of first use."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray

Entry = TypeVar("Entry", bound=Hashable)


def canonical(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Rewrites snapshots so that they share dictionaries, hold no unused entry, and count objects from 0.

    Interned codes depend on the order in which a walk met things, and serial numbers on the history of the
    process; after this, equal models have equal columns.

    Args:
        snapshots: States of one scope.

    Returns:
        As many snapshots, equal to the given ones, with one set of dictionaries.
    """
    names, (module_names, tensor_names) = _merged(
        [],
        [
            [(each.modules.name, each.names) for each in snapshots],
            [(each.tensors.name, each.names) for each in snapshots],
        ],
    )
    types, (module_types,) = _merged([], [[(each.modules.type, each.types) for each in snapshots]])
    specs, (tensor_specs,) = _merged([], [[(each.tensors.spec, each.specs) for each in snapshots]])
    adapters, (module_adapters, tensor_adapters) = _merged(
        [""],
        [
            [(each.modules.adapter, each.adapter_names) for each in snapshots],
            [(each.tensors.adapter, each.adapter_names) for each in snapshots],
        ],
    )
    states, (module_states,) = _merged([""], [[(each.modules.state, each.states) for each in snapshots]])
    hooks, (module_hooks,) = _merged([""], [[(each.modules.hooks, each.hook_lists) for each in snapshots]])
    module_serials = _dense([each.modules.identity for each in snapshots])
    tensor_serials = _dense([each.tensors.identity for each in snapshots])
    return [
        Snapshot(
            modules=replace(
                each.modules,
                name=module_names[index],
                type=module_types[index],
                adapter=module_adapters[index],
                state=module_states[index],
                hooks=module_hooks[index],
                identity=module_serials[index],
            ),
            tensors=replace(
                each.tensors,
                name=tensor_names[index],
                spec=tensor_specs[index],
                adapter=tensor_adapters[index],
                identity=tensor_serials[index],
            ),
            names=names,
            types=types,
            specs=specs,
            adapter_names=adapters,
            states=states,
            hook_lists=hooks,
            adapters=each.adapters,
            adapter_state=each.adapter_state,
            base=each.base,
            label=each.label,
            environment=each.environment,
            scope=each.scope,
            values=each.values,
        )
        for index, each in enumerate(snapshots)
    ]


def _merged(
    reserved: list[Entry], groups: list[list[tuple[IntArray, tuple[Entry, ...]]]]
) -> tuple[tuple[Entry, ...], list[list[IntArray]]]:
    """One dictionary for several columns, entries in the order of first use.

    Returns:
        The dictionary, and the recoded columns in the shape of `groups`.
    """
    code = {entry: number for number, entry in enumerate(reserved)}
    recoded: list[list[IntArray]] = []
    for group in groups:
        columns: list[IntArray] = []
        for column, entries in group:
            translation = np.zeros(len(entries), np.int64)
            for used in _in_order(column):
                translation[used] = code.setdefault(entries[used], len(code))
            columns.append(translation[column])
        recoded.append(columns)
    return tuple(code), recoded


def _in_order(column: IntArray) -> Iterable[int]:
    used, first = np.unique(column, return_index=True)
    return [int(value) for value in used[np.argsort(first)]]


def _dense(columns: list[IntArray]) -> list[IntArray]:
    """Serial numbers replaced by 0, 1, 2, … in the order of first occurrence over all columns."""
    if not columns:
        return []
    used, first, inverse = np.unique(np.concatenate(columns), return_index=True, return_inverse=True)
    rank = np.empty(len(used), np.int64)
    rank[np.argsort(first)] = np.arange(len(used))
    bounds = np.cumsum([len(column) for column in columns])[:-1]
    return np.split(rank[inverse.reshape(-1)], bounds)
