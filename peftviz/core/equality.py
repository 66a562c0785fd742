"""When two snapshots are equal: a reader who sees both could not tell them apart."""

from __future__ import annotations

import numpy as np

from peftviz.core.recode import alias_targets, shared_columns, tensor_aliases
from peftviz.core.snapshot import Snapshot


def equal_snapshots(a: Snapshot, b: Snapshot) -> bool:
    """Compares tree, fields, sharing and adapters; labels, environments and serial numbers take no part.

    Tensor values are compared between snapshots that took them in the same way, so a snapshot without values can
    equal two that differ from each other.
    """
    if a is b:
        return True
    if len(a.modules) != len(b.modules) or len(a.tensors) != len(b.tensors):
        return False
    if a.adapters != b.adapters or a.adapter_state != b.adapter_state:
        return False
    ours, theirs = shared_columns(a, b)
    pairs = [
        (a.modules.parent, b.modules.parent),
        (ours.names, theirs.names),
        (ours.tensor_names, theirs.tensor_names),
        (a.tensors.owner, b.tensors.owner),
        (a.tensors.storage, b.tensors.storage),
        (alias_targets(a), alias_targets(b)),
        (tensor_aliases(a), tensor_aliases(b)),
        *((ours.modules[field], theirs.modules[field]) for field in ours.modules),
        *((ours.tensors[field], theirs.tensors[field]) for field in ours.tensors if field != "values"),
    ]
    if a.values == b.values:  # fingerprints of different kinds say nothing
        pairs.append((ours.tensors["values"], theirs.tensors["values"]))
    return all(np.array_equal(left, right) for left, right in pairs)
