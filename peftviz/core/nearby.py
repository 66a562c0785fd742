"""What a path that a snapshot does not have was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import numpy as np

from peftviz.core.snapshot import Snapshot, join
from peftviz.core.tables import IntArray
from peftviz.errors import near_matches

SHOWN = 3
"""How many paths a hint names."""
_LONGEST = 200
"""Longer parts of a path are taken as they are: likeness takes a time that grows with the square."""


def nearby(snapshot: Snapshot, path: str, *, tensors: bool) -> str:
    """The hint for a path that a snapshot does not have.

    First come paths that lead through the same names, mistyped ones mended, and through more: those that PEFT put in
    between, as in `lm_head.weight` for `base_model.model.lm_head.original_module.weight`. If there are none, what lies
    where the path leaves the tree.

    Args:
        snapshot: Where it was looked up.
        path: What was looked up.
        tensors: Whether a tensor was meant, and not a module.

    Returns:
        A sentence for the hint of an error.
    """
    found = _through(snapshot, path, tensors=tensors)
    if found:
        more = f" ({len(found)} are like it)" if len(found) > SHOWN else ""
        return f"Did you mean {' or '.join(repr(_path(snapshot, row, tensors)) for row in found[:SHOWN])}?{more}"
    return near_matches(path, _where_it_ends(snapshot, path)) or "snapshot.find('*') lists all paths."


def _through(snapshot: Snapshot, path: str, *, tensors: bool) -> list[int]:
    """Rows whose paths hold all parts of a path in their order and end with its last; the shortest paths first."""
    known = {name: code for code, name in enumerate(snapshot.names)}
    codes = [known.get(_mended(part, known), -1) for part in path.split(".")]
    if not path or -1 in codes:
        return []
    modules = snapshot.modules
    *wanted, last = codes
    rows = np.flatnonzero((snapshot.tensors if tensors else modules).name == last)
    at: IntArray = (snapshot.tensors.owner if tensors else modules.parent)[rows].astype(np.int64)
    missing = np.full(len(rows), len(wanted), np.int64)
    parts = np.array([-1, *wanted])
    while (climbing := at > 0).any():
        here = np.where(climbing, at, 0)
        missing -= climbing & (missing > 0) & (modules.name[here] == parts[missing])
        at = np.where(climbing, modules.parent[here], -1)
    found = rows[missing == 0]
    owners = snapshot.tensors.owner[found] if tensors else found
    order: list[int] = found[np.argsort(snapshot.depth[owners], kind="stable")].tolist()
    return order


def _mended(part: str, known: dict[str, int]) -> str:
    if part in known or len(part) > _LONGEST:
        return part
    return next(iter(difflib.get_close_matches(part, known, n=1, cutoff=0.75)), part)


def _path(snapshot: Snapshot, row: int, tensors: bool) -> str:
    return snapshot.tensor_path(row) if tensors else snapshot.module_path(row)


def _where_it_ends(snapshot: Snapshot, path: str) -> Iterator[str]:
    """What lies in the last module on the way that is there."""
    parts = path.split(".")
    for length in range(len(parts) - 1, -1, -1):
        row = snapshot.find_module(".".join(parts[:length]))
        if row is not None:
            row = snapshot.first_occurrence(row)
            prefix = snapshot.module_path(row)
            children = [snapshot.names[snapshot.modules.name[child]] for child in snapshot.child_rows(row).tolist()]
            held = [snapshot.names[snapshot.tensors.name[tensor]] for tensor in snapshot.tensor_rows_of(row)]
            yield from (join(prefix, name) for name in (*children, *held))
            return
