"""What adapters own in the tree: one entry for each name that keys a container of a PEFT module."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, ModuleFlag, Role, TensorFlag

CONTAINERS = frozenset({"ModuleDict", "ParameterDict", "BufferDict"})


@dataclass(frozen=True, eq=False)
class Entries:
    """Columns, one row an entry, in the order of the tree.

    Attributes:
        adapter: Code into `snapshot.adapter_names`.
        module: Row of the keyed module, -1 when a tensor is keyed.
        tensor: Row of the keyed tensor, -1 when a module is keyed.
        container: Module row of the container.
        holder: Module row of the PEFT module that has the container.
        wrapper: The holder, or the wrapper around it that has no container of its own (`TrainableTokensWrapper`).
        auxiliary: Whether it is a copy of something of the base (a saved module, a token delta) rather than a
            tuner layer's own weight.
        parameters: Elements of the parameters inside.
        trainable: Elements of the parameters that require gradients.
        weights: Elements of parameters and buffers.
        nbytes: Bytes inside; storage that is shared is counted where the snapshot meets it first.
    """

    adapter: IntArray
    module: IntArray
    tensor: IntArray
    container: IntArray
    holder: IntArray
    wrapper: IntArray
    auxiliary: IntArray
    parameters: IntArray
    trainable: IntArray
    weights: IntArray
    nbytes: IntArray

    def __len__(self) -> int:
        return len(self.adapter)

    def path(self, snapshot: Snapshot, index: int) -> str:
        """Path of the keyed module or tensor."""
        if self.module[index] >= 0:
            return snapshot.module_path(int(self.module[index]))
        return snapshot.tensor_path(int(self.tensor[index]))

    def row(self, index: int) -> int:
        """Module row to mark for an entry: the keyed module, or the container of a keyed tensor."""
        return int(self.module[index] if self.module[index] >= 0 else self.container[index])


def container_rows(snapshot: Snapshot) -> IntArray:
    """For each module row, whether it is a container that a PEFT module keeps. Shape `(modules,)`, bool."""
    modules = snapshot.modules
    kinds = np.array([name.rpartition(".")[2] in CONTAINERS for name in snapshot.types], bool)
    is_kind = kinds[modules.type] if len(kinds) else np.zeros(len(modules), bool)
    parent = np.maximum(modules.parent, 0)
    owned = (modules.flags[parent] & ModuleFlag.PEFT_CLASS) != 0
    return np.asarray(is_kind & owned & ~is_kind[parent] & (modules.parent >= 0))


def find_entries(snapshot: Snapshot, containers: IntArray) -> Entries:
    """Finds the entries of all containers.

    Args:
        snapshot: The snapshot.
        containers: What `container_rows` says.
    """
    modules, tensors = snapshot.modules, snapshot.tensors
    parent = np.maximum(modules.parent, 0)
    module = np.flatnonzero((modules.adapter != 0) & containers[parent])
    tensor = np.flatnonzero((tensors.adapter != 0) & containers[tensors.owner])
    container = np.concatenate([parent[module], tensors.owner[tensor]]).astype(np.int64)
    order = np.argsort(container, kind="stable")
    container = container[order]
    holder = parent[container]
    starts = snapshot.tensor_starts
    first = np.concatenate([starts[module], tensor])[order]
    last = np.concatenate([starts[snapshot.subtree_end[module]], tensor + 1])[order]
    numel = np.array([spec.numel for spec in snapshot.specs], np.int64)[tensors.spec] if len(tensors) else tensors.spec
    parameter = (tensors.flags & TensorFlag.BUFFER) == 0
    trainable = parameter & ((tensors.flags & TensorFlag.REQUIRES_GRAD) != 0)

    def total(values: IntArray) -> IntArray:
        sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
        return np.asarray(sums[last] - sums[first])

    wrapper = _climb(snapshot, holder, containers)
    saved = np.concatenate([modules.role[module], tensors.role[tensor]])[order] == Role.SAVED
    return Entries(
        adapter=np.concatenate([modules.adapter[module], tensors.adapter[tensor]])[order].astype(np.int64),
        module=np.concatenate([module, np.full(len(tensor), -1)])[order],
        tensor=np.concatenate([np.full(len(module), -1), tensor])[order],
        container=container,
        holder=holder,
        wrapper=wrapper,
        auxiliary=saved | (wrapper != holder),
        parameters=total(np.where(parameter, numel, 0)),
        trainable=total(np.where(trainable, numel, 0)),
        weights=total(numel),
        nbytes=total(snapshot.counted_bytes),
    )


def find_sharers(snapshot: Snapshot, entries: Entries, containers: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Modules beside the holder that have the same container of copies: the head of a tied pair with trained tokens.

    Args:
        snapshot: The snapshot.
        entries: Its entries.
        containers: What `container_rows` says.

    Returns:
        Holder, wrapper and adapter, as columns of `Entries` but with the rows of those that share.
    """
    modules = snapshot.modules
    of_copies = np.flatnonzero(entries.auxiliary & (entries.wrapper != entries.holder))
    shared = containers[modules.alias_rows] & np.isin(modules.alias_targets, entries.container[of_copies])
    rows, targets = modules.alias_rows[shared], modules.alias_targets[shared]
    at, entry = np.nonzero(targets[:, None] == entries.container[of_copies][None, :])
    holder = modules.parent[rows[at]].astype(np.int64)
    return holder, _climb(snapshot, holder, containers), entries.adapter[of_copies[entry]]


def _climb(snapshot: Snapshot, holder: IntArray, containers: IntArray) -> IntArray:
    """From the module with the containers to a wrapper around it that only passes on to it."""
    modules = snapshot.modules
    has_container = np.zeros(len(modules), bool)
    has_container[modules.parent[containers]] = True
    holds_model = _holds_model(snapshot)
    around = modules.parent[holder] if len(holder) else holder
    passes_on = (
        (around >= 0)
        & (modules.role[around] == Role.WRAPPER)
        & ((modules.flags[around] & ModuleFlag.PEFT_CLASS) != 0)
        & ~has_container[around]
        & ~holds_model[around]
        & ~holds_model[holder]
    )
    return np.where(passes_on, around, holder)


def _holds_model(snapshot: Snapshot) -> IntArray:
    """For each module row, whether a config registry sits there: it wraps a model, not a layer."""
    rows = [snapshot.find_module(path) for path, _ in snapshot.adapter_state.registries]
    holds = np.zeros(len(snapshot.modules), bool)
    holds[[row for row in rows if row is not None]] = True
    return holds


def short_name(snapshot: Snapshot, row: int) -> str:
    """Last part of a module's path, or the class of the model for the root."""
    return snapshot.names[snapshot.modules.name[row]] if row > 0 else snapshot.root_class
