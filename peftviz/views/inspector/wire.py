"""The bytes that take a view table to the browser; `docs/formats/view-table.md` describes them."""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from peftviz.core.rules import RULES
from peftviz.views.inspector.wording import translated
from peftviz.views.viewmodel.table import SHOWN, ViewTable

MAGIC = b"PVT1"
_HEAD = struct.Struct("<4sI")
_ALIGN = 8
_FAST = 1
"""Compression level: the columns repeat so much that more effort gains little, and a reader waits for it."""

_COUNTED = frozenset({"run_first", "change_row", "detail_row"})
"""Columns whose length is that of others, too; they are sent whole."""
_RULES = {rule.code: rule for rule in RULES}
_NAMES = {"uint8": "u1", "uint16": "u2", "uint32": "u4", "float64": "f8"}


def encode(table: ViewTable) -> bytes:
    """Packs a view table; the same table gives the same bytes.

    Args:
        table: The table. Parents are left out (depths tell them), and the rows of the snapshots shrink to whether
            the row exists on each side. What rows show is sent once for all that show the same.

    Returns:
        The compressed buffer.
    """
    patterns = table.patterns
    columns: dict[str, npt.NDArray[Any]] = {name: getattr(table, name)[patterns.first] for name in SHOWN}
    columns["pattern"], columns["was"] = patterns.of_row, table.was
    runs = table.runs
    columns["run_first"] = np.fromiter(runs, np.int64, len(runs))
    columns["run_length"] = np.fromiter((len(run) for run in runs.values()), np.int64, len(runs))
    columns["change_row"], columns["change_kind"], changes = table.change_kinds
    details = {name: value for name, value in table.details.items() if name not in ("rows", "payload")}
    for name, key in (("detail_row", "rows"), ("detail_payload", "payload")):
        columns[name] = np.array(table.details.get(key, ()), np.int64)
    entries: list[list[Any]] = []
    chunks: list[bytes] = []
    places: dict[tuple[str, bytes], int] = {}
    size = 0
    for name, column in columns.items():
        packed = _packed(column, keep=name in _COUNTED)
        dtype, content = _NAMES[packed.dtype.name], packed.tobytes()
        place = places.get((dtype, content))
        if place is None:  # columns with the same content share one place
            place = places[dtype, content] = size
            padded = content + bytes(-len(content) % _ALIGN)
            chunks.append(padded)
            size += len(padded)
        entries.append([name, dtype, place, len(packed)])
    header = {
        "rows": len(table),
        "patterns": len(patterns),
        "columns": entries,
        "strings": list(table.strings),
        "summary": table.summary,
        "findings": [_titled(finding) for finding in table.findings],
        "changes": changes,
        "roles": table.roles,
        "details": details,
    }
    text = _json(header).encode("ascii")
    text += b" " * (-(_HEAD.size + len(text)) % _ALIGN)
    return gzip.compress(b"".join([_HEAD.pack(MAGIC, len(text)), text, *chunks]), _FAST, mtime=0)


def _titled(finding: Mapping[str, Any]) -> dict[str, Any]:
    rule = _RULES.get(finding["rule"])
    return {**translated(finding), "title": rule.title, "upstream": rule.links} if rule else dict(finding)


def _packed(column: npt.NDArray[Any], *, keep: bool) -> npt.NDArray[Any]:
    """The column in the smallest of the known types; a column of one value is sent as that value, unless `keep`."""
    if not keep and len(column) > 1 and (column == column[0]).all():
        column = column[:1]
    if column.dtype.kind == "f":
        whole = len(column) == 0 or (column.min() >= 0 and column.max() < 2**32 and (column == np.floor(column)).all())
        return np.ascontiguousarray(column, "<u4" if whole else "<f8")
    top = int(column.max()) if len(column) else 0
    return np.ascontiguousarray(column, "<u1" if top < 2**8 else "<u2" if top < 2**16 else "<u4")


def _json(header: Mapping[str, Any]) -> str:
    # Escaped: a name may hold a lone surrogate, which UTF-8 cannot carry.
    write = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode
    try:
        return write(header)
    except (TypeError, ValueError):  # seldom, and copying a long list of changes takes a while
        return write(_finite(header))


def _finite(value: Any) -> Any:
    """JSON knows no infinity: it travels as its name."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
