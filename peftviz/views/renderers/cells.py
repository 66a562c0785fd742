"""The words of one line: what text and static HTML write into their columns. No escaping here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from peftviz.views.formatting import (
    ARROW,
    format_bytes,
    format_count,
    format_delta,
    format_pair,
    plural,
)
from peftviz.views.renderers.outline import Node, Outline
from peftviz.views.viewmodel.table import RED, STATUS_WORDS, Status, Trainable, ViewTable

COLUMNS = ("Module", "Change", "Class", "Dtype", "Shape", "Trainable", "Memory")
_TRAINABLE = {Trainable.NONE: "", Trainable.FROZEN: "frozen", Trainable.TRAINABLE: "✓", Trainable.PARTLY: "partly"}
_MAX_VALUE = 60
_MAX_REMARKS = 3
_SHORT_NOTE = 24
_SHORTER = {Status.INSIDE: "inside"}
_IN_COLUMNS = frozenset({"type", "class", "shape", "dtype", "device", "requires_grad", "handle", "registries"})
"""Changed fields that a column or the header shows already."""


@dataclass(frozen=True)
class Line:
    """The cells of one line.

    Attributes:
        labels: Names of the chain of modules, the last one being the row's own.
        run: `"32 alike"` for a run, else `""`.
        status: What happened to the row.
        symbol: Of the status.
        word: Of the status; `""` in a table of a single state unless red.
        note: Short remark beside the name, as in `"active"`, or `""`.
        class_name: Class before and after.
        dtype: Dtype before and after.
        shape: Shape before and after.
        trainable: Trainable before and after.
        memory: Bytes before and after, or `""` for none.
        remarks: What else is to be said: the old path, notes, changed fields, codes of findings.
    """

    labels: tuple[str, ...]
    run: str
    status: Status
    symbol: str
    word: str
    note: str
    class_name: str
    dtype: str
    shape: str
    trainable: str
    memory: str
    remarks: tuple[str, ...]

    @property
    def is_red(self) -> bool:
        """Whether the row is left over or at fault."""
        return self.status in RED


class Lines:
    """Writes the lines of one table."""

    def __init__(self, table: ViewTable) -> None:
        self._table = table
        self._single = bool(table.summary.get("single", False))

    def line(self, node: Node) -> Line:
        """The cells of a node of the outline."""
        table, row = self._table, node.row
        status = Status(int(table.status[row]))
        symbol, word = STATUS_WORDS[status]
        quiet = self._single and status not in RED
        note = table.strings[table.note[row]]
        return Line(
            labels=node.labels,
            run=f"{len(node.run)} alike" if node.run else "",
            status=status,
            symbol=" " if quiet else symbol,
            word="" if quiet else _SHORTER.get(status, word),
            note=note if len(note) <= _SHORT_NOTE else "",
            class_name=self._pair("type", row),
            dtype=self._pair("dtype", row),
            shape=self._pair("shape", row),
            trainable=self._trainable(row),
            memory=self._memory(row),
            remarks=tuple(self._remarks(row)),
        )

    def _pair(self, column: str, row: int) -> str:
        strings = self._table.strings
        before = strings[getattr(self._table, f"{column}_before")[row]]
        after = strings[getattr(self._table, f"{column}_after")[row]]
        return format_pair(before, after) if before and after else after or before

    def _trainable(self, row: int) -> str:
        before = _TRAINABLE[Trainable(int(self._table.trainable_before[row]))]
        after = _TRAINABLE[Trainable(int(self._table.trainable_after[row]))]
        return format_pair(before, after) if before and after else after or before

    def _memory(self, row: int) -> str:
        before, after = float(self._table.bytes_before[row]), float(self._table.bytes_after[row])
        if before == after:
            return format_bytes(after) if after else ""
        if not before:
            return f"+{format_bytes(after)}"
        return f"{format_bytes(before)} {ARROW} {format_bytes(after) if after else '0'}"

    def _remarks(self, row: int) -> list[str]:
        table = self._table
        remarks = []
        if row in self._rules:
            remarks.append(", ".join(self._rules[row]))
        if table.was[row]:
            remarks.append(f"was {table.strings[table.was[row]]}")
        note = table.strings[table.note[row]]
        if len(note) > _SHORT_NOTE:
            remarks.append(note)
        changes = self._changes(row)
        remarks += [change_text(*change) for change in changes[:_MAX_REMARKS]]
        if len(changes) > _MAX_REMARKS:
            remarks.append(f"and {plural(len(changes) - _MAX_REMARKS, 'more field')}")
        return remarks

    def _changes(self, row: int) -> list[list[Any]]:
        rows, kinds, changes = self._table.change_kinds
        start, stop = np.searchsorted(rows, [row, row + 1])
        return [changes[kind] for kind in kinds[start:stop].tolist() if changes[kind][0] not in _IN_COLUMNS]

    @cached_property
    def _rules(self) -> Mapping[int, list[str]]:
        by_row: dict[int, list[str]] = {}
        for finding in self._table.findings:
            for row in finding["rows"]:
                if finding["rule"] not in by_row.setdefault(row, []):
                    by_row[row].append(finding["rule"])
        return by_row


def change_text(field: str, before: Any, after: Any) -> str:
    """`"requires_grad: true → false"`; of containers only what came, went or changed."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return f"{field}: {_mapping_text(before, after)}"
    if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
        gone, come = [item for item in before if item not in after], [item for item in after if item not in before]
        if gone or come:
            return f"{field}: " + " ".join(
                [*(f"−{_value(item)}" for item in gone), *(f"+{_value(item)}" for item in come)]
            )
    return f"{field}: {_value(before)} {ARROW} {_value(after)}"


def _mapping_text(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    parts = [f"−{key}" for key in before if key not in after]
    come = [key for key in after if key not in before]
    parts += [f"+{key}" if isinstance(after[key], Mapping) else f"+{key}={_value(after[key])}" for key in come]
    both = (key for key in before if key in after and before[key] != after[key])
    parts += [f"{key} {_value(before[key])} {ARROW} {_value(after[key])}" for key in both]
    return ", ".join(parts[:4]) + (f" and {len(parts) - 4} more" if len(parts) > 4 else "")


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…"


def headline(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and difference of the totals: `("memory", "18.19 GB → 18.17 GB", "−14 MB")`."""
    totals = []
    for name, key, unit in (
        ("modules", "modules", "count"),
        ("parameters", "parameters", "count"),
        ("trainable", "trainable", "count"),
        ("memory", "bytes", "bytes"),
    ):
        before, after = summary[key]
        written = format_bytes if unit == "bytes" else format_count
        totals.append((name, format_pair(written(before), written(after)), format_delta(before, after, unit=unit)))
    return totals


def adapters_line(summary: Mapping[str, Any]) -> str:
    """The adapters of both states with what is special about each: `"default (LORA, active)"`."""
    sides = [", ".join(_adapter_text(facts) for facts in side) or "none" for side in summary["adapter_facts"]]
    return format_pair(*sides)


def _adapter_text(facts: Mapping[str, Any]) -> str:
    words = [facts["method"], "active" if facts["active"] else "", "merged" if facts["merged"] else ""]
    return f"{facts['name']} ({', '.join(word for word in words if word)})"


def verdict(summary: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> str:
    """`"1 leftover · 1.05 GB"`, or what else the findings amount to; `""` when there are none."""
    rows, nbytes = summary["leftover_rows"], summary["leftover_bytes"]
    if rows:
        return plural(rows, "leftover") + (f" · {format_bytes(nbytes)}" if nbytes else "")
    return plural(len(findings), "finding") if findings else ""


def counts_line(summary: Mapping[str, Any]) -> str:
    """Rows by status: `"3 added, 2 removed"`."""
    quiet = {STATUS_WORDS[Status.SAME][1], STATUS_WORDS[Status.INSIDE][1]}
    counts = [f"{count:,} {word}" for word, count in summary["counts"].items() if word not in quiet]
    return ", ".join(counts) or "no changes"


def left_out_line(tree: Outline) -> str:
    """What is not among the lines of an outline: `"Not shown: 35 unchanged modules."`, or `""`."""
    parts = [
        plural(tree.unchanged, "unchanged module") if tree.unchanged else "",
        plural(tree.folded, "row") + " in folded runs" if tree.folded else "",
        plural(tree.empty, "empty container") if tree.empty else "",
        plural(tree.cut, "line") + " for length" if tree.cut else "",
    ]
    said = ", ".join(part for part in parts if part)
    return f"Not shown: {said}." if said else ""
