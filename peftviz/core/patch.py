"""Applies a diff to a snapshot."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from peftviz.core.arguments import check_snapshot
from peftviz.core.changes import below
from peftviz.core.diff import Diff, Kind
from peftviz.core.recode import alias_targets, fingerprints, storage_nbytes
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import BoolArray, IntArray, ModuleTable, TensorTable, compact, first_occurrence
from peftviz.errors import PatchError

_PLACED = Kind.WRAPPED | Kind.UNWRAPPED | Kind.MOVED


def patch(snapshot: Snapshot, diff: Diff) -> Snapshot:
    """Applies the changes of a diff to the snapshot that it starts from.

    Only what the diff says has changed is taken from the diff; all else comes from the snapshot. So the law
    `patch(a, diff(a, b)) == b` says that no change is missing.

    Args:
        snapshot: A snapshot equal to `diff.before`.
        diff: The changes.

    Returns:
        A snapshot equal to `diff.after`.

    Raises:
        PatchError: The diff starts from another snapshot.
        SnapshotError: There is no snapshot to begin with.
    """
    check_snapshot(snapshot, "snapshot")
    if snapshot != diff.before:
        raise PatchError(
            "The diff does not start from this snapshot.",
            where=f"{diff!r} applied to {snapshot!r}",
            hint="Apply it to a snapshot equal to diff.before.",
        )
    after = diff.after
    module_row = np.full(len(snapshot.modules), -1, np.int64)
    kept = np.flatnonzero(diff.module_source >= 0)
    module_row[diff.module_source[kept]] = kept
    return Snapshot(
        modules=_modules(snapshot, diff, module_row),
        tensors=_tensors(snapshot, diff, module_row),
        names=after.names,
        types=after.types,
        specs=after.specs,
        adapter_names=after.adapter_names,
        states=after.states,
        hook_lists=after.hook_lists,
        adapters=after.adapters,
        adapter_state=after.adapter_state,
        base=after.base,
        label=after.label,
        environment=after.environment,
        scope=after.scope,
        values=after.values,
    )


def _modules(a: Snapshot, diff: Diff, module_row: IntArray) -> ModuleTable:
    b, source, fields = diff.after, diff.module_source, diff.module_fields
    ours, theirs = a.modules, b.modules
    placed = (diff.module_kinds & _PLACED) != 0
    retied = (diff.module_kinds & Kind.RETIED) != 0
    carried = fields["role"] | below(b, (diff.module_kinds & (Kind.WRAPPED | Kind.UNWRAPPED)) != 0)
    names = _translate(a.names, b.names)
    group = _assemble(source, alias_targets(a), alias_targets(b) + len(ours), retied)
    alias = first_occurrence(group)
    alias_rows = np.flatnonzero(alias != np.arange(len(alias)))
    parent = np.where(ours.parent >= 0, module_row[np.maximum(ours.parent, 0)], -1)
    return ModuleTable(
        parent=compact(_assemble(source, parent, theirs.parent, placed), signed=True),
        name=compact(_assemble(source, names[ours.name], theirs.name, placed)),
        type=compact(_assemble(source, _translate(a.types, b.types)[ours.type], theirs.type, fields["type"])),
        flags=compact(_assemble(source, ours.flags, theirs.flags, fields["training"] | fields["type"])),
        role=compact(_assemble(source, ours.role, theirs.role, carried)),
        adapter=compact(
            _assemble(
                source, _translate(a.adapter_names, b.adapter_names)[ours.adapter], theirs.adapter, fields["adapter"]
            )
        ),
        state=compact(_assemble(source, _translate(a.states, b.states)[ours.state], theirs.state, fields["state"])),
        hooks=compact(
            _assemble(source, _translate(a.hook_lists, b.hook_lists)[ours.hooks], theirs.hooks, fields["hooks"])
        ),
        identity=compact(_identities(diff, source, ours.identity, theirs.identity, diff.module_kinds), signed=True),
        alias_rows=compact(alias_rows, signed=True),
        alias_targets=compact(alias[alias_rows], signed=True),
    )


def _tensors(a: Snapshot, diff: Diff, module_row: IntArray) -> TensorTable:
    b, source, fields = diff.after, diff.tensor_source, diff.tensor_fields
    ours, theirs = a.tensors, b.tensors
    placed = (diff.tensor_kinds & Kind.MOVED) != 0
    retied = (diff.tensor_kinds & Kind.RETIED) != 0
    flagged = fields["kind"] | fields["requires_grad"] | fields["persistent"]
    spec = fields["shape"] | fields["dtype"] | fields["device"] | fields["class"]
    wrapped = below(b, (diff.module_kinds & (Kind.WRAPPED | Kind.UNWRAPPED)) != 0)
    role = fields["role"] | (wrapped[theirs.owner] if len(theirs) else False)
    storage = first_occurrence(_shared(source, ours.storage, theirs.storage, retied))
    odd = _assemble(source, storage_nbytes(a), storage_nbytes(b), fields["storage_nbytes"])
    odd_rows = np.flatnonzero(odd >= 0)
    values = fields["values"] if a.values == b.values else np.ones(len(theirs), bool)
    names = _translate(a.names, b.names)
    adapters = _translate(a.adapter_names, b.adapter_names)
    return TensorTable(
        owner=compact(_assemble(source, module_row[ours.owner], theirs.owner, placed), signed=True),
        name=compact(_assemble(source, names[ours.name], theirs.name, placed)),
        spec=compact(_assemble(source, _translate(a.specs, b.specs)[ours.spec], theirs.spec, spec)),
        flags=compact(_assemble(source, ours.flags, theirs.flags, flagged)),
        role=compact(_assemble(source, ours.role, theirs.role, role)),
        adapter=compact(_assemble(source, adapters[ours.adapter], theirs.adapter, fields["adapter"])),
        version=compact(_assemble(source, ours.version, theirs.version, fields["version"] | fields["values"])),
        identity=compact(_identities(diff, source, ours.identity, theirs.identity, diff.tensor_kinds), signed=True),
        storage=compact(storage, signed=True),
        fingerprint=compact(_assemble(source, fingerprints(a), fingerprints(b), values) if b.values != "off" else ()),
        odd_storage_rows=compact(odd_rows, signed=True),
        odd_storage_nbytes=compact(odd[odd_rows], signed=True),
    )


def _assemble(source: IntArray, ours: IntArray, theirs: IntArray, changed: BoolArray) -> IntArray:
    """A column of which the kept cells are ours and the new and changed ones theirs."""
    if not len(ours):
        return theirs
    kept = (source >= 0) & ~changed
    return np.where(kept, ours[np.maximum(source, 0)], theirs)


def _shared(source: IntArray, ours: IntArray, theirs: IntArray, retied: IntArray) -> IntArray:
    """A key of the storage of each row: kept rows stay with their storage, the others join the rows they share with.

    A tensor may be tied to others anew within a storage whose other rows have not changed.
    """
    kept = np.flatnonzero((source >= 0) & ~retied)
    key_of_group = np.arange(len(theirs)) + len(ours)
    key_of_group[theirs[kept]] = ours[source[kept]]
    keys = key_of_group[theirs]
    keys[kept] = ours[source[kept]]
    return keys


def _identities(diff: Diff, source: IntArray, ours: IntArray, theirs: IntArray, kinds: IntArray) -> IntArray:
    if not diff.matching.by_identity:
        return theirs
    return _assemble(source, ours, theirs, (kinds & (Kind.REPLACED | Kind.RETIED)) != 0)


def _translate(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> IntArray:
    """Their code of each of our codes; one past the last where they have none, which no kept cell can need."""
    codes = {value: code for code, value in enumerate(theirs)}
    return np.array([codes.get(value, len(theirs)) for value in ours], np.int64)
