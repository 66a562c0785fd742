"""The view model: a columnar preorder table of what a reader sees. Every renderer translates it and decides nothing.

The table is a unified tree: the rows of the state after, and among them, at their old place, the rows that are gone.
A module row is followed by the rows of its own tensors, then by its child modules.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from peftviz.core.tables import IntArray
from peftviz.views.viewmodel.remembered import remembered

if TYPE_CHECKING:
    from peftviz.core.audit import Audit
    from peftviz.core.diff import Diff
    from peftviz.core.snapshot import Snapshot
    from peftviz.views.viewmodel.folding import Run
    from peftviz.views.viewmodel.patterns import Patterns


class RowKind(enum.IntEnum):
    """What a row stands for."""

    MODULE = 0
    PARAMETER = 1
    BUFFER = 2


class Status(enum.IntEnum):
    """What happened to a row; the word and the symbol that go with it are in `STATUS_WORDS`."""

    SAME = 0
    CHANGED = 1
    """A field of the row itself changed."""
    INSIDE = 2
    """Only something below the row changed."""
    ADDED = 3
    REMOVED = 4
    WRAPPED = 5
    UNWRAPPED = 6
    MOVED = 7
    REPLACED = 8
    RETIED = 9
    LEFTOVER = 10
    """A finding says that the row is left over (`PV1xx`) and is an error, or a warning: shown in red."""
    FAULT = 11
    """A finding of another kind points at the row, which belongs there: shown in red, and nothing is to go."""


STATUS_WORDS: Mapping[Status, tuple[str, str]] = {
    Status.SAME: ("=", "same"),
    Status.CHANGED: ("~", "changed"),
    Status.INSIDE: ("~", "changed inside"),
    Status.ADDED: ("+", "added"),
    Status.REMOVED: ("−", "removed"),
    Status.WRAPPED: ("⤷", "wrapped"),
    Status.UNWRAPPED: ("⤶", "unwrapped"),
    Status.MOVED: ("→", "moved"),
    Status.REPLACED: ("↻", "replaced"),
    Status.RETIED: ("∞", "retied"),
    Status.LEFTOVER: ("◆", "LEFTOVER"),
    Status.FAULT: ("⚠", "FAULT"),
}

RED = (Status.LEFTOVER, Status.FAULT)
"""What is shown in red."""


class Trainable(enum.IntEnum):
    """Whether a row trains; a module's value sums up its parameters."""

    NONE = 0
    """No parameters, or the row does not exist on this side."""
    FROZEN = 1
    TRAINABLE = 2
    PARTLY = 3


SHOWN = (
    "depth", "kind", "label", "status", "note", "role", "adapter",
    "type_before", "type_after", "shape_before", "shape_after", "dtype_before", "dtype_after",
    "device_before", "device_after", "trainable_before", "trainable_after",
    "bytes_before", "bytes_after", "numel_before", "numel_after", "exists",
)  # fmt: skip
"""Columns of a view table that hold few combinations of values: all that are no row's own."""


@dataclass(frozen=True, eq=False)
class ViewTable:
    """What a reader sees of a snapshot, a diff or an audit; arrays have one entry a row, strings are interned.

    Text and `trainable` columns hold 0 where the row does not exist on that side. For a single snapshot both
    sides are the same.

    Attributes:
        strings: Interned strings; entry 0 is `""`.
        parent: Row of the parent, -1 for the root (int32).
        end: For each row, the row after its last descendant (int64).
        depth: Number of ancestors (uint16).
        kind: Values of `RowKind` (uint8).
        label: Code into `strings`: the attribute name, or the class of the model for the root (uint32).
        was: Code into `strings`: full old path of a wrapped, unwrapped or moved row, else 0 (uint32).
        status: Values of `Status` (uint8).
        note: Code into `strings`: short remark such as `"active"`, `"alias of a.b"`, `"shared with …"`, or 0 (uint32).
        type_before, type_after: Code into `strings`: short class name (uint32).
        shape_before, shape_after: Code into `strings`, as in `"8 × 4096"` (uint32).
        dtype_before, dtype_after: Code into `strings`; a module's is that of its tensors when alike (uint32).
        device_before, device_after: Code into `strings`, as for dtype (uint32).
        trainable_before, trainable_after: Values of `Trainable` (uint8).
        bytes_before, bytes_after: Bytes of the row and all rows below it in this table, shared storage counted once
            (float64). So a new wrapper's bytes before are those of what it wraps, and row 0 has the totals.
        numel_before, numel_after: Elements likewise, parameters only (float64).
        role: Values of `peftviz.core.tables.Role` (uint8).
        adapter: Code into `strings`, 0 for none (uint32).
        before_row, after_row: Row in the snapshot's module or tensor table on that side, -1 for none (int32).
        changes: JSON-able `[row, field, before, after]` for each field that changed, in row order; for a module of
            PEFT's, each changed instance attribute is a field. `summary["changes_cut"]` rows were left out.
        findings: JSON-able dicts of the findings with an added `"row"` (-1 when the path is not in the table), and
            `"rows"`, all rows that are concerned, `"row"` among them (the first 1,000; `"rows_total"` counts all),
            and `"red"`, whether it is an error or paints a row red.
        summary: JSON-able facts for the header: `title` (class of the model beneath its wrappers), `subtitle`,
            `labels`, `modules`, `parameters`, `trainable`, `bytes` and `handle` (each `[before, after]`), `single`
            (there is one state only), `counts` by status word, `adapters` (`[before names, after names]`),
            `adapter_facts` (likewise, dicts with `name`, `method`, `active`, `merged`), `enabled`, `configs` by adapter
            name, `leftover_rows`, `leftover_bytes`, `severities` (findings by severity), `changes_cut`.
        roles: JSON-able `[label, role, adapter, bytes before, bytes after, leftover]` parts of the memory bars, role
            being `"base"`, `"shared"`, `"adapter"` or `"saved"`; the base first, largest first within a group. They
            add up to `summary["bytes"]`. The bytes before of a leftover part are those of the same tensors.
        details: JSON-able extras for the details panel, sparse and interned: `{"rows": [row, …], "payload": [index,
            …], "payloads": [{…}, …], "cut": n}`; the payload of `rows[i]` is `payloads[payload[i]]`, a dict with some
            of `state` (instance attributes of a PEFT module), `hooks`, and `shared_with` with `sharers` (how many).
    """

    strings: tuple[str, ...]
    parent: IntArray
    end: IntArray
    depth: IntArray
    kind: IntArray
    label: IntArray
    was: IntArray
    status: IntArray
    note: IntArray
    type_before: IntArray
    type_after: IntArray
    shape_before: IntArray
    shape_after: IntArray
    dtype_before: IntArray
    dtype_after: IntArray
    device_before: IntArray
    device_after: IntArray
    trainable_before: IntArray
    trainable_after: IntArray
    bytes_before: Any
    bytes_after: Any
    numel_before: Any
    numel_after: Any
    role: IntArray
    adapter: IntArray
    before_row: IntArray
    after_row: IntArray
    changes: list[list[Any]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    roles: list[list[Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.parent)

    @cached_property
    def exists(self) -> IntArray:
        """Bit 0 for rows that are there before, bit 1 for rows that are there after (uint8)."""
        return np.asarray((self.before_row >= 0) * np.uint8(1) | (self.after_row >= 0) * np.uint8(2), np.uint8)

    @cached_property
    def patterns(self) -> Patterns:
        """The distinct combinations of `SHOWN`."""
        from peftviz.views.viewmodel.patterns import find_patterns

        return find_patterns({name: getattr(self, name) for name in SHOWN})

    @cached_property
    def change_kinds(self) -> tuple[IntArray, IntArray, list[list[Any]]]:
        """`changes` with what repeats told once: rows, kind of each, and `[field, before, after]` by kind."""
        from peftviz.views.viewmodel.patterns import change_kinds

        return change_kinds(self.changes)

    @cached_property
    def runs(self) -> Mapping[int, Run]:
        """Runs of siblings that are alike, by the row of their first member."""
        from peftviz.views.viewmodel.folding import find_runs

        return find_runs(self)


def view_table(subject: Snapshot | Diff | Audit, *, audit: Audit | None = None) -> ViewTable:
    """Turns a snapshot, a diff or an audit into what a reader sees of it.

    Args:
        subject: An audit stands for its snapshot, or for the diff from its baseline when it has one.
        audit: Findings to mark in the rows of a snapshot or a diff.
    """
    return _table(subject, audit)


@remembered
def _table(subject: Snapshot | Diff | Audit, audit: Audit | None) -> ViewTable:
    from peftviz.views.viewmodel.build import build_table

    return build_table(subject, audit)
