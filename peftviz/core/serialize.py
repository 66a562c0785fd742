"""Snapshots as files: `save` and `load`. The format and its law stand in `docs/formats/snapshot.md`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peftviz.core import container, wellformed
from peftviz.core.canonical import canonical
from peftviz.core.codec import Coding, damaged, decode_columns, encode_columns
from peftviz.core.header import (
    Fields,
    read_adapter,
    read_adapter_state,
    read_base,
    read_hooks,
    read_spec,
    read_state,
    write_adapter,
    write_adapter_state,
    write_base,
    write_spec,
)
from peftviz.core.preorder import record_depth
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, ModuleTable, TensorTable, compact, frozen
from peftviz.errors import SnapshotFileError

MAX_ROWS = 2**23  # of modules and of tensors; fifteen times the largest model measured
MAX_ROWS_IN_FILE = 2**26
TIME = "time"

_SECTIONS = {
    "modules": {
        "depth": Coding.PLAIN,
        "name": Coding.PLAIN,
        "type": Coding.PLAIN,
        "flags": Coding.PLAIN,
        "role": Coding.PLAIN,
        "adapter": Coding.PLAIN,
        "state": Coding.PLAIN,
        "hooks": Coding.PLAIN,
        "identity": Coding.DELTA,
    },
    "aliases": {"alias_rows": Coding.DELTA, "alias_targets": Coding.DELTA},
    "tensors": {
        "owner": Coding.DELTA,
        "name": Coding.PLAIN,
        "spec": Coding.PLAIN,
        "flags": Coding.PLAIN,
        "role": Coding.PLAIN,
        "adapter": Coding.PLAIN,
        "version": Coding.PLAIN,
        "identity": Coding.DELTA,
        "storage": Coding.BACK,
    },
    "fingerprints": {"fingerprint": Coding.WORDS},
    "storages": {"odd_storage_rows": Coding.DELTA, "odd_storage_nbytes": Coding.PLAIN},
}
"""The columns of each section, in the order of the file; all columns of a section have as many rows."""

_DICTIONARIES = ("names", "types", "adapter_names", "states", "hook_lists")
_SIGNED = frozenset(
    ("owner", "identity", "storage", "alias_rows", "alias_targets", "odd_storage_rows", "odd_storage_nbytes")
)


def save(snapshot: Snapshot, path: str | os.PathLike[str], *, time: bool = False) -> Path:
    """Writes a snapshot to a file that `load` reads.

    Equal snapshots with the same label and package versions give the same bytes, in whichever process they were
    captured. An existing file is replaced whole or, on failure, left as it was.

    Args:
        snapshot: What to write.
        path: Where to; the folder must exist.
        time: Whether to write the time of capture too, which makes the files of two captures differ.

    Returns:
        The path written.

    Raises:
        SnapshotFileError: The snapshot breaks a law of its tables or is too large.
        OSError: The file cannot be written.
    """
    return _write([snapshot], path, kind="snapshot", meta={}, time=time)


def save_many(
    snapshots: Iterable[Snapshot],
    path: str | os.PathLike[str],
    meta: Mapping[str, Any] | None = None,
    *,
    time: bool = False,
) -> Path:
    """Writes several states to one file; they share their dictionaries and, when loaded, one identity scope.

    Args:
        snapshots: States of one process or file, in order.
        path: Where to; the folder must exist.
        meta: JSON values to keep beside them.
        time: As for `save`.

    Returns:
        The path written.

    Raises:
        SnapshotFileError: As for `save`; or the snapshots have different scopes; or `meta` is no JSON.
        OSError: The file cannot be written.
    """
    states = list(snapshots)
    if len({id(state.scope) for state in states}) > 1:
        raise SnapshotFileError(
            "Snapshots of different scopes cannot share a file: their identities cannot be compared.",
            where=str(path),
            hint="Save each with its own save(), or only those of one process or one file together.",
        )
    return _write(states, path, kind="timeline", meta=dict(meta or {}), time=time)


def load(path: str | os.PathLike[str]) -> Snapshot:
    """Reads the snapshot that `save` wrote. Needs neither torch nor peft.

    Args:
        path: The file. It may come from anyone: it is checked, and never executed.

    Returns:
        The snapshot, with an identity scope of its own.

    Raises:
        SnapshotFileError: The file is no snapshot, damaged, hostile, of a newer schema, or holds several states.
        OSError: The file cannot be read.
    """
    kind, snapshots, _ = _read(Path(path))
    if kind != "snapshot":
        raise SnapshotFileError(
            f"The file holds a timeline of {len(snapshots)} states, not one snapshot.",
            where=str(path),
            hint="peftviz.Timeline.load(path) reads it.",
        )
    return snapshots[0]


def load_many(path: str | os.PathLike[str]) -> tuple[list[Snapshot], dict[str, Any]]:
    """Reads the states and the metadata that `save_many` wrote; a file of `save` gives one state.

    Returns:
        The snapshots, which share one new identity scope, and the metadata: JSON values from an untrusted file.

    Raises:
        SnapshotFileError: As for `load`.
        OSError: The file cannot be read.
    """
    _, snapshots, meta = _read(Path(path))
    return snapshots, meta


# Writing ----------------------------------------------------------------------------------------------------------


def _write(
    snapshots: Sequence[Snapshot], path: str | os.PathLike[str], *, kind: str, meta: dict[str, Any], time: bool
) -> Path:
    target = Path(path)
    for snapshot in snapshots:
        if why := wellformed.problem(snapshot):
            raise _unwritable(f"The snapshot cannot be saved: {why}.", target)
    entries = []
    blocks = []
    states = canonical(snapshots)
    for snapshot in states:
        widths, block = encode_columns(_sections(snapshot))
        environment = {key: value for key, value in snapshot.environment.items() if time or key != TIME}
        entries.append(
            {
                "rows": [
                    len(snapshot.modules),
                    len(snapshot.modules.alias_rows),
                    len(snapshot.tensors),
                    len(snapshot.tensors.fingerprint),
                    len(snapshot.tensors.odd_storage_rows),
                ],
                "widths": widths,
                "adapters": [write_adapter(adapter) for adapter in snapshot.adapters],
                "adapter_state": write_adapter_state(snapshot.adapter_state),
                "base": write_base(snapshot.base),
                "label": snapshot.label,
                "environment": environment,
                "values": snapshot.values,
            }
        )
        blocks.append(block)
    header: dict[str, Any] = {"kind": kind, "meta": meta, "snapshots": entries}
    for name in _DICTIONARIES:
        header[name] = list(getattr(states[0], name)) if states else []
    header["specs"] = [write_spec(spec) for spec in states[0].specs] if states else []
    try:
        data = container.pack(header, b"".join(blocks))
        _parse(data, str(target))  # what cannot be read back is never written
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, SnapshotFileError):
            raise _unwritable(f"The snapshot cannot be saved: {error.what}", target) from None
        raise _unwritable("The metadata is no JSON.", target) from error
    container.write_bytes(target, data)
    return target


def _sections(snapshot: Snapshot) -> list[tuple[IntArray, Coding]]:
    """The columns of a snapshot in the order of the file."""
    modules = {**vars(snapshot.modules), "depth": record_depth(snapshot.modules.parent)}
    tables = {"modules": modules, "aliases": modules}
    return [
        (tables.get(section, vars(snapshot.tensors))[name], coding)
        for section, codings in _SECTIONS.items()
        for name, coding in codings.items()
    ]


def _unwritable(what: str, path: Path) -> SnapshotFileError:
    return SnapshotFileError(what, where=str(path), hint="Capture the model again and save that; no file was written.")


# Reading ----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[str, list[Snapshot], dict[str, Any]]:
    return _parse(container.read_bytes(path), str(path))


def _parse(data: bytes, where: str) -> tuple[str, list[Snapshot], dict[str, Any]]:
    raw_header, packed = container.unpack(data, where)
    header = Fields(raw_header, f"{where}, header")
    kind = header.text("kind")
    meta = header.mapping("meta")
    dictionaries: dict[str, Any] = {name: tuple(header.texts(name)) for name in _DICTIONARIES}
    dictionaries["specs"] = tuple(read_spec(item, header.where) for item in header.items("specs"))
    for text in dictionaries["states"][1:]:
        read_state(text, header.where)
    for text in dictionaries["hook_lists"][1:]:
        read_hooks(text, header.where)
    entries = [Fields(item, f"{where}, state {number}") for number, item in enumerate(header.items("snapshots"))]
    header.done()
    if kind not in ("snapshot", "timeline") or (kind == "snapshot" and (len(entries) != 1 or meta)):
        raise damaged("it is neither one snapshot nor a timeline", where)

    layouts = [_layout(entry) for entry in entries]
    rows_in_file = sum(rows for layout in layouts for _, name, _, rows, _ in layout if name in ("depth", "owner"))
    if rows_in_file > MAX_ROWS_IN_FILE:
        raise damaged("it declares more rows than a file may hold", where)
    sizes = [sum(rows * width for *_, rows, width in layout) for layout in layouts]
    if sum(sizes) > container.MAX_BLOCK:
        raise damaged("it declares more data than a file may hold", where)
    block = memoryview(container.inflate(packed, sum(sizes), where))
    scope = object()
    snapshots = []
    start = 0
    for entry, layout, size in zip(entries, layouts, sizes, strict=True):
        snapshots.append(_snapshot(entry, layout, block[start : start + size], dictionaries, scope))
        start += size
    return kind, snapshots, meta


_Layout = list[tuple[str, str, Coding, int, int]]


def _layout(entry: Fields) -> _Layout:
    """Section, name, coding, rows and width of each column, as the header declares them."""
    rows = entry.integers("rows", len(_SECTIONS), 0, MAX_ROWS)
    widths = entry.integers("widths", sum(len(codings) for codings in _SECTIONS.values()), 1, 8)
    if any(width not in (1, 2, 4, 8) for width in widths):
        raise damaged("a column has an impossible width", entry.where)
    columns = [
        (section, name, coding, count)
        for (section, codings), count in zip(_SECTIONS.items(), rows, strict=True)
        for name, coding in codings.items()
    ]
    return [(*column, width) for column, width in zip(columns, widths, strict=True)]


def _snapshot(
    entry: Fields, layout: _Layout, block: memoryview, dictionaries: dict[str, Any], scope: object
) -> Snapshot:
    tables: dict[str, dict[str, IntArray]] = {section: {} for section in _SECTIONS}
    parent: IntArray = np.zeros(0, np.int64)
    decoded = decode_columns(block, [column[1:] for column in layout], entry.where)
    for (section, *_), (name, values) in zip(layout, decoded, strict=True):
        if name == "depth":
            if why := wellformed.depth_problem(values):
                raise damaged(why, entry.where)
            parent = compact(wellformed.parents_of(values), signed=True)
        elif name == "fingerprint":
            tables[section][name] = frozen(values)
        elif len(values) and int(values.min()) < 0:
            raise damaged(f"column {name!r} has a negative value", entry.where)
        else:
            tables[section][name] = compact(values, signed=name in _SIGNED)
    snapshot = Snapshot(
        modules=ModuleTable(parent=parent, **tables["modules"], **tables["aliases"]),
        tensors=TensorTable(**tables["tensors"], **tables["fingerprints"], **tables["storages"]),
        adapters=tuple(read_adapter(item, entry.where) for item in entry.items("adapters")),
        adapter_state=read_adapter_state(entry.mapping("adapter_state"), entry.where),
        base=read_base(entry.mapping("base"), entry.where) if "base" in entry else None,  # since schema 2
        label=entry.text("label"),
        environment=entry.text_mapping("environment"),
        values=entry.text("values"),
        scope=scope,
        **dictionaries,
    )
    entry.done()
    if why := wellformed.problem(snapshot):
        raise damaged(why, entry.where)
    return snapshot
