"""Finds for each row of one snapshot the row of another that is the same thing, and says on what evidence."""

from __future__ import annotations

import enum
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from peftviz.core.recode import Columns, shares_storage, tensor_aliases
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import BoolArray, IntArray, Role


class Evidence(enum.IntEnum):
    """What a match rests on."""

    NONE = 0
    IDENTITY = 1
    """The same Python object."""
    PATH = 2
    """The same place in the tree."""
    WRAPPING = 3
    """The place that PEFT gives to what it wraps."""
    CONTENT = 4
    """The same class, shapes and values, found nowhere else."""


@dataclass(frozen=True, eq=False)
class Matching:
    """Rows of the later snapshot matched to rows of the earlier one.

    Attributes:
        modules: For each later module row the earlier row, or -1.
        module_evidence: Values of `Evidence`.
        tensors: For each later tensor row the earlier row, or -1.
        tensor_evidence: Values of `Evidence`.
        by_identity: Whether identity was compared; two models that share no module are matched as if from two files.
    """

    modules: IntArray
    module_evidence: IntArray
    tensors: IntArray
    tensor_evidence: IntArray
    by_identity: bool

    def inverted(self, modules: int, tensors: int) -> Matching:
        """The same pairs seen from the other side.

        Args:
            modules: Number of module rows of the earlier snapshot.
            tensors: Number of its tensor rows.
        """
        module_source, module_evidence = _invert(self.modules, self.module_evidence, modules)
        tensor_source, tensor_evidence = _invert(self.tensors, self.tensor_evidence, tensors)
        return Matching(module_source, module_evidence, tensor_source, tensor_evidence, self.by_identity)


def match(a: Snapshot, b: Snapshot, ours: Columns, theirs: Columns) -> Matching:
    """Matches the rows of two snapshots.

    Within one scope objects are matched by identity first, and what is left by path: another object in the same
    place. Between scopes, and between models that share no module, rows are matched by path, through PEFT's
    wrappers, and then by content.
    """
    modules: IntArray = np.full(len(b.modules), -1, np.int64)
    if a.scope is not None and a.scope is b.scope:
        shared = np.concatenate((_repeated_modules(a), _repeated_modules(b)))
        modules = _match_unique(a.modules.identity, b.modules.identity, shared)
    by_identity = bool((modules >= 0).any())
    evidence = _evidence_of_identity(modules)
    if by_identity:
        _match_shared_modules(a, b, ours, theirs, shared, modules, evidence)
        _match_by_path(a, b, ours, theirs, modules, evidence)
    else:
        _match_through_wrappers(a, b, ours, theirs, modules, evidence)
        _match_by_content(a, b, modules, evidence)

    tensors: IntArray = np.full(len(b.tensors), -1, np.int64)
    repeated: IntArray = np.zeros(0, np.int64)
    if by_identity:
        repeated = np.concatenate((_repeated_tensors(a), _repeated_tensors(b)))
        tensors = _match_unique(a.tensors.identity, b.tensors.identity, repeated)
    tensor_evidence = _evidence_of_identity(tensors)
    if len(repeated):
        _match_tensors(a, b, ours, theirs, modules, tensors, tensor_evidence, identity=True)
        _match_leftover_tensors(a, b, tensors, tensor_evidence)
    _match_tensors(a, b, ours, theirs, modules, tensors, tensor_evidence, identity=False)
    return Matching(modules, evidence, tensors, tensor_evidence, by_identity)


def left_over(source: IntArray, count: int) -> IntArray:
    """Earlier rows that no later row is matched to, ascending.

    Args:
        source: For each later row the earlier row, or -1.
        count: Number of earlier rows.
    """
    left = np.ones(count + 1, bool)
    left[source] = False  # -1 falls on the last entry, which stands for no row
    return np.flatnonzero(left[:-1])


def _invert(source: IntArray, evidence: IntArray, count: int) -> tuple[IntArray, IntArray]:
    inverse = np.full(count, -1, np.int64)
    inverse_evidence = np.zeros(count, np.uint8)
    rows = np.flatnonzero(source >= 0)
    inverse[source[rows]] = rows
    inverse_evidence[source[rows]] = evidence[rows]
    return inverse, inverse_evidence


def _match_unique(a: IntArray, b: IntArray, repeated: IntArray) -> IntArray:
    """For each later row the earlier row of the same serial number, or -1.

    Args:
        a: Serial number of each earlier row.
        b: Serial number of each later row.
        repeated: Serial numbers that occur several times on one side: they are left for later.
    """
    if not len(a) or not len(b):
        return np.full(len(b), -1, np.int64)
    low, high = int(min(a.min(), b.min())), int(max(a.max(), b.max()))
    if high - low < 16 * (len(a) + len(b)):  # serial numbers are dense: a table beats a sort
        row_of: IntArray = np.full(high - low + 1, -1, np.int64)
        row_of[a - low] = np.arange(len(a))
        row_of[repeated - low] = -1
        return row_of[b - low]
    order = np.argsort(a)
    row = order[np.minimum(np.searchsorted(a, b, sorter=order), len(a) - 1)]
    return np.where((a[row] == b) & ~np.isin(b, repeated), row, -1)


def _evidence_of_identity(source: IntArray) -> IntArray:
    evidence: IntArray = (source >= 0) * np.uint8(Evidence.IDENTITY)
    return evidence


def _repeated_modules(snapshot: Snapshot) -> IntArray:
    """Serial numbers of modules that occur several times."""
    return snapshot.modules.identity[snapshot.modules.alias_rows]


def _repeated_tensors(snapshot: Snapshot) -> IntArray:
    """Serial numbers of tensors that occur several times."""
    if not shares_storage(snapshot):
        return np.zeros(0, np.int64)
    first = tensor_aliases(snapshot)
    repeated: IntArray = snapshot.tensors.identity[first != np.arange(len(first))]
    return repeated


def _match_shared_modules(
    a: Snapshot, b: Snapshot, ours: Columns, theirs: Columns, shared: IntArray, source: IntArray, evidence: IntArray
) -> None:
    """Matches modules that occur several times: occurrence by occurrence in the same place, then in order."""
    if not len(shared):
        return
    candidates: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(np.isin(a.modules.identity, shared)).tolist():
        candidates[int(a.modules.identity[row])].append(row)
    waiting = []
    for row in np.flatnonzero(np.isin(b.modules.identity, shared)).tolist():
        options = candidates.get(int(b.modules.identity[row]), [])
        parent = int(b.modules.parent[row])
        place = (int(source[parent]) if parent >= 0 else -1, int(theirs.names[row]))
        for option in options:
            if (int(a.modules.parent[option]), int(ours.names[option])) == place:
                source[row], evidence[row] = option, Evidence.IDENTITY
                options.remove(option)
                break
        else:
            waiting.append(row)
    for row in waiting:
        options = candidates.get(int(b.modules.identity[row]), [])
        if options:
            source[row], evidence[row] = options.pop(0), Evidence.IDENTITY


def _match_by_path(
    a: Snapshot, b: Snapshot, ours: Columns, theirs: Columns, source: IntArray, evidence: IntArray
) -> None:
    """Matches what is left to what is left in the same place, from the root down."""
    free = left_over(source, len(a.modules))
    if not len(free):
        return
    if free[0] == 0 and source[0] < 0:
        source[0], evidence[0] = 0, Evidence.PATH
    rows = np.flatnonzero((source < 0) & (b.modules.parent >= 0))
    rows = rows[source[b.modules.parent[rows]] >= 0]
    if not len(rows):
        return
    span = int(max(ours.names.max(initial=0), theirs.names.max(initial=0))) + 1
    free = free[free > 0]  # the root is in no other module
    keys = a.modules.parent[free].astype(np.int64) * span + ours.names[free]
    order = np.argsort(keys, kind="stable")
    keys, free = keys[order], free[order]
    while len(rows) and len(keys):
        wanted = source[b.modules.parent[rows]] * span + theirs.names[rows]
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hit = keys[place] == wanted
        found = rows[hit]
        source[found] = free[place[hit]]
        evidence[found] = Evidence.PATH
        unmatched = (source < 0) & (b.modules.parent >= 0)
        rows = np.flatnonzero(unmatched & np.isin(b.modules.parent, found)) if len(found) else found


def _match_through_wrappers(
    a: Snapshot, b: Snapshot, ours: Columns, theirs: Columns, source: IntArray, evidence: IntArray
) -> None:
    """Matches two trees of different processes by path; where one side is wrapped, to what the wrapper holds."""
    if not len(a.modules) or not len(b.modules):
        return
    wrapper_a, wrapper_b = (snapshot.modules.role == Role.WRAPPER.value for snapshot in (a, b))
    held_a, held_b = _held(a), _held(b)
    span = int(max(ours.names.max(), theirs.names.max())) + 1
    keys = a.modules.parent.astype(np.int64) * span + ours.names
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    old: IntArray = np.zeros(1, np.int64)
    new = old
    while len(new):
        outer_old, outer_new = old, new
        new = _inside(new, held_b, ~wrapper_a[old])
        old = _inside(old, held_a, ~wrapper_b[new])
        source[new] = old
        evidence[new] = np.where((new != outer_new) | (old != outer_old), Evidence.WRAPPING, Evidence.PATH)
        above = np.full(len(b.modules), -1, np.int64)
        above[new] = old
        children = np.flatnonzero(above[b.modules.parent[1:]] >= 0) + 1
        wanted = above[b.modules.parent[children]] * span + theirs.names[children]
        place = np.searchsorted(keys, wanted, side="right") - 1
        hit = keys[place] == wanted
        old, new = order[place[hit]], children[hit]


def _held(snapshot: Snapshot) -> IntArray:
    """For each wrapper the row of the one child that is no part of PEFT's own bookkeeping; it may be a wrapper again.

    -1 for a wrapper that has none or several such children, and for all other modules.
    """
    modules = snapshot.modules
    rows = np.flatnonzero(np.isin(modules.role, (Role.WRAPPED, Role.BASE, Role.WRAPPER)) & (modules.parent >= 0))
    rows = rows[modules.role[modules.parent[rows]] == Role.WRAPPER.value]
    parents = modules.parent[rows]
    held = np.full(len(modules), -1, np.int64)
    held[parents] = rows
    held[np.bincount(parents, minlength=len(modules)) > 1] = -1
    return held


def _inside(rows: IntArray, held: IntArray, concerned: BoolArray) -> IntArray:
    """The rows themselves, or what stands inside all their wrappers for those that are concerned."""
    while True:
        inner = np.where(concerned, held[rows], -1)
        if (inner < 0).all():
            return rows
        rows = np.where(inner >= 0, inner, rows)


def _match_by_content(a: Snapshot, b: Snapshot, source: IntArray, evidence: IntArray) -> None:
    """Matches subtrees that moved: same classes, shapes and known values, and only one candidate on each side."""
    taken = set(source[source >= 0].tolist())
    lost = _contents(a, left_over(source, len(a.modules)))
    found = _contents(b, np.flatnonzero(source < 0))
    for content, rows in found.items():
        options = lost.get(content, [])
        if (
            len(rows) == len(options) == 1
            and a.subtree_end[options[0]] - options[0] == b.subtree_end[rows[0]] - rows[0]
        ):
            for offset in range(int(b.subtree_end[rows[0]]) - rows[0]):
                if source[rows[0] + offset] < 0 and options[0] + offset not in taken:
                    source[rows[0] + offset], evidence[rows[0] + offset] = options[0] + offset, Evidence.CONTENT
                    taken.add(options[0] + offset)


def _contents(snapshot: Snapshot, rows: IntArray) -> dict[tuple[object, ...], list[int]]:
    """Rows by what their subtrees hold; subtrees without any known value are left out."""
    contents: dict[tuple[object, ...], list[int]] = defaultdict(list)
    fingerprint = snapshot.tensors.fingerprint
    if not len(fingerprint):
        return contents
    known = np.append(0, np.cumsum(fingerprint != 0))
    stops = snapshot.subtree_end[rows]
    first, last = snapshot.tensor_starts[rows], snapshot.tensor_starts[stops]
    some = known[last] > known[first]
    for row, stop, start, end in zip(*(column[some].tolist() for column in (rows, stops, first, last)), strict=True):
        types = tuple(snapshot.types[code] for code in snapshot.modules.type[row:stop].tolist())
        shapes = tuple(snapshot.specs[code].shape for code in snapshot.tensors.spec[start:end].tolist())
        contents[types, shapes, tuple(fingerprint[start:end].tolist())].append(row)
    return contents


def _match_tensors(
    a: Snapshot,
    b: Snapshot,
    ours: Columns,
    theirs: Columns,
    modules: IntArray,
    source: IntArray,
    evidence: IntArray,
    *,
    identity: bool,
) -> None:
    """Matches tensors of matched owners by name, the same objects only or any that are left."""
    free = left_over(source, len(a.tensors))
    if not len(free):
        return
    rows = np.flatnonzero(source < 0)
    rows = rows[modules[b.tensors.owner[rows]] >= 0]
    if not len(rows):
        return
    span = int(max(ours.tensor_names.max(initial=0), theirs.tensor_names.max(initial=0))) + 1
    keys = a.tensors.owner[free].astype(np.int64) * span + ours.tensor_names[free]
    order = np.argsort(keys, kind="stable")
    keys, free = keys[order], free[order]
    wanted = modules[b.tensors.owner[rows]] * span + theirs.tensor_names[rows]
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    hit = keys[place] == wanted
    if identity:
        hit &= a.tensors.identity[free[place]] == b.tensors.identity[rows]
    source[rows[hit]] = free[place[hit]]
    evidence[rows[hit]] = Evidence.IDENTITY if identity else Evidence.PATH


def _match_leftover_tensors(a: Snapshot, b: Snapshot, source: IntArray, evidence: IntArray) -> None:
    """Matches further occurrences of one tensor object in order."""
    free = left_over(source, len(a.tensors))
    rows = np.flatnonzero(source < 0)
    rows = rows[np.isin(b.tensors.identity[rows], a.tensors.identity[free])]
    options: dict[int, list[int]] = defaultdict(list)
    for row in free.tolist():
        options[int(a.tensors.identity[row])].append(row)
    for row in rows.tolist():
        found = options[int(b.tensors.identity[row])]
        if found:
            source[row], evidence[row] = found.pop(0), Evidence.IDENTITY
