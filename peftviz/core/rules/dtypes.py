"""PV405: an adapter whose weights have several dtypes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from peftviz.core.finding import Finding
from peftviz.core.rules.columns import once
from peftviz.core.rules.facts import Facts
from peftviz.core.rules.rule import Rule
from peftviz.core.tables import IntArray, Role, TensorFlag

FLOATS = ("float", "bfloat")
"""How the names of dtypes that can be trained begin."""

CAN_BE_WIDENED = frozenset({"float16", "bfloat16", "float32", "float64"})
"""Dtypes of which any two have a third, or one of them, that holds the values of both."""


def mixed_dtypes(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV405: weights of one adapter differ in dtype: within a layer, or its copies from its layers."""
    snapshot, tensors = facts.snapshot, facts.snapshot.tensors
    if not len(tensors):
        return
    dtypes = sorted({spec.dtype for spec in snapshot.specs if spec.dtype.startswith(FLOATS)})
    code_of = {dtype: code for code, dtype in enumerate(dtypes)}
    dtype = np.array([code_of.get(spec.dtype, -1) for spec in snapshot.specs], np.int64)[tensors.spec]
    theirs = (tensors.adapter != 0) & (dtype >= 0) & ((tensors.flags & TensorFlag.BUFFER) == 0)
    for code in once(tensors.adapter[theirs]).tolist():
        name = snapshot.adapter_names[code]
        if name not in facts.all_known and facts.all_known:
            continue  # PV101 and PV103 tell of it
        layers = np.flatnonzero(theirs & (tensors.adapter == code) & (tensors.role == Role.ADAPTER))
        copies = np.flatnonzero(theirs & (tensors.adapter == code) & (tensors.role == Role.SAVED))
        yield from _within_layers(rule, facts, name, layers, dtype, dtypes)
        yield from _copies(rule, facts, name, (layers, copies), dtype, dtypes)


def _within_layers(
    rule: Rule, facts: Facts, name: str, rows: IntArray, dtype: IntArray, dtypes: list[str]
) -> Iterator[Finding]:
    """Layers in which the weights of one adapter have several dtypes."""
    own = dtype[rows]
    if len(rows) == 0 or (own == own[0]).all():
        return
    holder = _holder_of(facts)[facts.snapshot.tensors.owner[rows]]
    holders, member = np.unique(holder, return_inverse=True)
    least, most = np.full(len(holders), len(dtypes)), np.full(len(holders), -1)
    np.minimum.at(least, member, own)
    np.maximum.at(most, member, own)
    mixed = holders[(least < most) & (holders >= 0)].tolist()
    if not mixed:
        return
    inside = rows[np.isin(holder, mixed)]
    counts = Counter(dtypes[code] for code in dtype[inside].tolist())
    path = facts.snapshot.module_path(mixed[0])
    more = f" and {len(mixed) - 1} more" if len(mixed) > 1 else ""
    yield rule.finding(
        path,
        f"In {path}{more}, weights of {name!r} are {' and '.join(sorted(counts))}: without autocast, forward raises.",
        {"layers": len(mixed), "weights": dict(sorted(counts.items()))},
        adapter=name,
        rows=mixed,
        repairable=counts.keys() <= CAN_BE_WIDENED,
    )


def _copies(
    rule: Rule, facts: Facts, name: str, parts: tuple[IntArray, IntArray], dtype: IntArray, dtypes: list[str]
) -> Iterator[Finding]:
    """Copies of whole modules that are not of the dtype of the adapter's own weights."""
    of_layers, of_copies = ({dtypes[code] for code in dtype[rows].tolist()} for rows in parts)
    if not of_layers or not of_copies or of_layers == of_copies:
        return
    first = int(parts[1][0])
    yield rule.finding(
        facts.snapshot.tensor_path(first),
        f"The copies that {name!r} trains are {' and '.join(sorted(of_copies))}, its layers' weights "
        f"{' and '.join(sorted(of_layers))}.",
        {"copies": sorted(of_copies), "layers": sorted(of_layers)},
        adapter=name,
        severity="info",
        repairable=False,
        remedy="PEFT casts an adapter's weights to float32 and leaves copies as they are; cast them too, or neither.",
    )


def _holder_of(facts: Facts) -> npt.NDArray[np.int64]:
    """For each module row the layer whose container it lies in, -1 outside of containers. Shape `(modules,)`."""
    rows = np.arange(len(facts.snapshot.modules))
    starts = np.flatnonzero(facts.containers)
    if not len(starts):
        return np.full(len(rows), -1, np.int64)
    last = np.maximum(np.searchsorted(starts, rows, side="right") - 1, 0)  # containers do not lie in one another
    start = starts[last]
    inside = (start <= rows) & (rows < facts.snapshot.subtree_end[start])
    return np.where(inside, facts.snapshot.modules.parent[start].astype(np.int64), -1)
