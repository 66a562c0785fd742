"""What changed between two snapshots, as a value."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from peftviz.core.arguments import check_snapshot
from peftviz.core.changes import ModuleChanges, TensorChanges, module_changes, state_changes, tensor_changes
from peftviz.core.display import Displayed, dataframes
from peftviz.core.matching import Evidence, Matching, left_over, match
from peftviz.core.recode import Columns, shared_columns
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import BoolArray, IntArray, frozen

if TYPE_CHECKING:
    import pandas as pd


class Kind(enum.IntFlag):
    """Bits of `Diff.module_kinds` and `Diff.tensor_kinds`; the word of a `Change` is the name in lower case."""

    ADDED = 1
    WRAPPED = 2
    """The same object, now held by a wrapper that took its place."""
    UNWRAPPED = 4
    MOVED = 8
    """The same object in another place, or in another order among its siblings."""
    REPLACED = 16
    """Another object in the same place."""
    CHANGED = 32
    RETIED = 64
    """Shares its storage, or its object, with other rows than before."""
    REMOVED = 128


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        kind: `"added"`, `"removed"`, `"wrapped"`, `"unwrapped"`, `"moved"`, `"replaced"`, `"changed"` or `"retied"`.
        path: Path after the change (of a removed row: before it); `""` for the model.
        old_path: Path before the change where it differs, else None.
        field: What changed, for `"changed"`; else None.
        before: Value before: the field's, the class of a module, the shape of a tensor, the sharers of a tie.
        after: Value after, likewise.
    """

    kind: str
    path: str
    old_path: str | None = None
    field: str | None = None
    before: Any = None
    after: Any = None


class Diff(Displayed):
    """The changes from one snapshot to another: iterable, false when there are none.

    Attributes:
        before: The earlier snapshot.
        after: The later snapshot.
        matching: Which rows are the same thing, and on what evidence.
        module_source: For each later module row the earlier row, or -1.
        tensor_source: For each later tensor row the earlier row, or -1.
        module_kinds: Bits of `Kind` for each later module row.
        tensor_kinds: Bits of `Kind` for each later tensor row.
        removed_modules: Earlier module rows that are gone, ascending.
        removed_tensors: Earlier tensor rows that are gone, ascending.
        module_fields: By field, whether it changed, one boolean a later module row.
        tensor_fields: By field, whether it changed, one boolean a later tensor row.
    """

    def __init__(self, before: Snapshot, after: Snapshot, matching: Matching, columns: tuple[Columns, Columns]) -> None:
        self.before = before
        self.after = after
        self.matching = matching
        ours, theirs = columns
        modules: ModuleChanges = module_changes(before, after, ours, theirs, matching)
        tensors: TensorChanges = tensor_changes(before, after, ours, theirs, matching, modules)
        self.module_fields: Mapping[str, BoolArray] = modules.fields
        self.tensor_fields: Mapping[str, BoolArray] = tensors.fields
        self.module_source = frozen(matching.modules)
        self.tensor_source = frozen(matching.tensors)
        self.module_kinds = frozen(
            _bits(
                {
                    Kind.ADDED: matching.modules < 0,
                    Kind.WRAPPED: modules.wrapped,
                    Kind.UNWRAPPED: modules.unwrapped,
                    Kind.MOVED: modules.moved,
                    Kind.REPLACED: (matching.module_evidence == Evidence.PATH.value) & matching.by_identity,
                    Kind.CHANGED: _any(modules.fields, len(after.modules)),
                    Kind.RETIED: modules.retied,
                }
            )
        )
        self.tensor_kinds = frozen(
            _bits(
                {
                    Kind.ADDED: matching.tensors < 0,
                    Kind.MOVED: tensors.moved,
                    Kind.REPLACED: (matching.tensor_evidence == Evidence.PATH.value) & matching.by_identity,
                    Kind.CHANGED: _any(tensors.fields, len(after.tensors)),
                    Kind.RETIED: tensors.retied,
                }
            )
        )
        self.removed_modules = frozen(left_over(matching.modules, len(before.modules)))
        self.removed_tensors = frozen(left_over(matching.tensors, len(before.tensors)))
        self._state_changes = state_changes(before, after)

    def __bool__(self) -> bool:
        return bool(
            self._state_changes
            or self.module_kinds.any()
            or self.tensor_kinds.any()
            or len(self.removed_modules)
            or len(self.removed_tensors)
        )

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[Change]:
        """Changes of the model as a whole, then of each row in the later order, then what is gone."""
        for field, old, new in self._state_changes:
            yield Change("changed", "", field=field, before=old, after=new)
        before_paths, after_paths = self.before.module_paths(), self.after.module_paths()
        for row in np.flatnonzero(self.module_kinds).tolist():
            yield from self._module_changes(row, before_paths, after_paths)
        before_tensors, after_tensors = self.before.tensor_paths(), self.after.tensor_paths()
        for row in np.flatnonzero(self.tensor_kinds).tolist():
            yield from self._tensor_changes(row, before_tensors, after_tensors)
        for row in self.removed_modules.tolist():
            yield Change("removed", before_paths[row], before=self.before.types[self.before.modules.type[row]])
        for row in self.removed_tensors.tolist():
            yield Change("removed", before_tensors[row], before=self.before.specs[self.before.tensors.spec[row]].shape)

    def _module_changes(self, row: int, before_paths: list[str], after_paths: list[str]) -> Iterator[Change]:
        source, path = int(self.module_source[row]), after_paths[row]
        new = self.after.module_row(row, path)
        if source < 0:
            yield Change("added", path, after=new.type)
            return
        old = self.before.module_row(source, before_paths[source])
        old_path = old.path if old.path != path else None
        for kind in _kinds(int(self.module_kinds[row])):
            yield Change(word(kind), path, old_path, None, old.type, new.type)
        for field, changed in self.module_fields.items():
            if changed[row]:
                yield Change("changed", path, old_path, field, _value(old, field), _value(new, field))

    def _tensor_changes(self, row: int, before_paths: list[str], after_paths: list[str]) -> Iterator[Change]:
        source, path = int(self.tensor_source[row]), after_paths[row]
        new = self.after.tensor_row(row)
        if source < 0:
            yield Change("added", path, after=new.shape)
            return
        old = self.before.tensor_row(source)
        old_path = before_paths[source] if before_paths[source] != path else None
        for kind in _kinds(int(self.tensor_kinds[row])):
            values = (old.shared_with, new.shared_with) if kind is Kind.RETIED else (old.shape, new.shape)
            yield Change(word(kind), path, old_path, None, *values)
        for field, changed in self.tensor_fields.items():
            if changed[row]:
                yield Change("changed", path, old_path, field, _value(old, field), _value(new, field))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Diff):
            return NotImplemented
        return (
            self.before == other.before
            and self.after == other.after
            and np.array_equal(self.module_source, other.module_source)
            and np.array_equal(self.tensor_source, other.tensor_source)
            and np.array_equal(self.module_kinds, other.module_kinds)
            and np.array_equal(self.tensor_kinds, other.tensor_kinds)
        )

    __hash__ = object.__hash__

    @cached_property
    def renames(self) -> dict[str, str]:
        """Old path to new path of each module and tensor that is the same and goes by another path now."""
        before, after = self.before.module_paths(), self.after.module_paths()
        pairs = zip(self.module_source.tolist(), after, strict=True)
        renames = {before[source]: path for source, path in pairs if source >= 0 and before[source] != path}
        before, after = self.before.tensor_paths(), self.after.tensor_paths()
        pairs = zip(self.tensor_source.tolist(), after, strict=True)
        renames.update({before[source]: path for source, path in pairs if source >= 0 and before[source] != path})
        return renames

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of changes by kind, kinds that do not occur left out."""
        counts = {
            word(kind): int(
                (self.module_kinds & kind).astype(bool).sum() + (self.tensor_kinds & kind).astype(bool).sum()
            )
            for kind in Kind
            if kind not in (Kind.CHANGED, Kind.REMOVED)
        }
        counts["removed"] = len(self.removed_modules) + len(self.removed_tensors)
        fields = (*self.module_fields.values(), *self.tensor_fields.values())
        counts["changed"] = sum(int(changed.sum()) for changed in fields) + len(self._state_changes)
        return {kind: count for kind, count in counts.items() if count}

    def reverse(self) -> Diff:
        """The diff from the later snapshot back to the earlier one."""
        inverted = self.matching.inverted(len(self.before.modules), len(self.before.tensors))
        return Diff(self.after, self.before, inverted, shared_columns(self.after, self.before))

    def to_frame(self) -> pd.DataFrame:
        """One row a change, columns as the attributes of `Change`."""
        frame: pd.DataFrame = dataframes().diff_frame(self)
        return frame

    def graph(self, path: str = "") -> Any:
        """A `graphviz` picture of what changed at and below a module, before and after.

        `.source` is its DOT text; `.write(path)` writes DOT, SVG, PNG or PDF, as the ending of the path says.

        Args:
            path: Path of the module, in the later snapshot or the earlier one.

        Raises:
            LookupFailure: Neither snapshot has such a module.
        """
        from peftviz.core.display import graph

        return graph(self, path)

    def __repr__(self) -> str:
        parts = ", ".join(f"{count:,} {kind}" for kind, count in self.counts.items())
        return f"Diff({self.before.root_class} → {self.after.root_class}: {parts or 'no changes'})"


def diff(before: Snapshot, after: Snapshot) -> Diff:
    """Compares two snapshots.

    Snapshots of one process (or of one file) are matched by the identity of their objects, so that a module that
    was wrapped or moved is seen as the same one. Others are matched by path, PEFT's wrapping and content.

    Args:
        before: The earlier one.
        after: The later one.

    Returns:
        The changes, false when there are none.

    Raises:
        SnapshotError: One of them is no snapshot.
    """
    check_snapshot(before, "before")
    check_snapshot(after, "after")
    columns = shared_columns(before, after)
    return Diff(before, after, match(before, after, *columns), columns)


def word(kind: Kind) -> str:
    """The word of a single kind, as in `Change.kind`."""
    return str(kind.name).lower()


def _kinds(bits: int) -> list[Kind]:
    """The single kinds in a bit mask; `CHANGED` is left out, since each changed field is a change of its own."""
    return [kind for kind in Kind if bits & kind and kind is not Kind.CHANGED]


def _value(row: Any, field: str) -> Any:
    value = getattr(row, {"class": "type", "values": "fingerprint"}.get(field, field))
    if field == "state":
        return dict(value)
    return value.name if field == "role" else value


def _bits(columns: Mapping[Kind, BoolArray]) -> IntArray:
    total: IntArray = np.zeros(len(next(iter(columns.values()))), np.uint8)
    for kind, column in columns.items():
        if column.any():
            total |= column * np.uint8(kind)
    return total


def _any(fields: Mapping[str, BoolArray], count: int) -> BoolArray:
    total = np.zeros(count, bool)
    for changed in fields.values():
        total |= changed
    return total
