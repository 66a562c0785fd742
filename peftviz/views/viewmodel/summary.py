"""The facts of the header line."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from peftviz.core.rows import Adapter
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, Role
from peftviz.views.formatting import ARROW, format_pair, plural
from peftviz.views.viewmodel.table import STATUS_WORDS, Status


def summarise(
    before: Snapshot,
    after: Snapshot,
    status: IntArray,
    nbytes: npt.NDArray[np.float64],
    leftover: npt.NDArray[np.bool_],
    findings: list[dict[str, Any]],
) -> dict[str, Any]:
    """The `summary` of a view table.

    Args:
        before: State before; the same object as `after` for a single snapshot.
        after: State after.
        status: Status by row.
        nbytes: Bytes after by row.
        leftover: Tensor rows that should be gone.
        findings: The findings with their rows.
    """
    old, new = before.totals, after.totals
    words = np.bincount(status, minlength=len(Status))
    severities = [finding["severity"] for finding in findings]
    return {
        "title": base_class(after),
        "subtitle": subtitle(before, after),
        "labels": [before.label, after.label],
        "single": before is after,
        "modules": [old.modules, new.modules],
        "parameters": [old.parameters, new.parameters],
        "trainable": [old.trainable, new.trainable],
        "bytes": [old.bytes, new.bytes],
        "counts": {STATUS_WORDS[value][1]: int(words[value]) for value in Status if words[value]},
        "adapters": [[adapter.name for adapter in side.adapters] for side in (before, after)],
        "adapter_facts": [[_facts(adapter) for adapter in side.adapters] for side in (before, after)],
        "handle": [before.adapter_state.handle, after.adapter_state.handle],
        "enabled": [before.adapter_state.enabled, after.adapter_state.enabled],
        "configs": {adapter.name: dict(adapter.config) for adapter in (*before.adapters, *after.adapters)},
        "leftover_rows": int(words[Status.LEFTOVER]),
        "leftover_bytes": int(nbytes[leftover].sum()),
        "severities": {word: severities.count(word) for word in ("error", "warning", "info") if word in severities},
    }


def base_class(snapshot: Snapshot) -> str:
    """Class name of the model beneath the wrappers around it."""
    inner = np.flatnonzero(snapshot.modules.role != Role.WRAPPER)
    # A model whose modules are all wrappers would be odd, but must have a name.
    row = int(inner[0]) if len(inner) else 0
    return snapshot.types[snapshot.modules.type[row]].rpartition(".")[2] if len(snapshot.modules) else "empty model"


def subtitle(before: Snapshot, after: Snapshot) -> str:
    """The handle and the number of adapters: `"PeftModel · 2 → 1 adapters"`."""
    handle = format_pair(_handle(before), _handle(after))
    old, new = len(before.adapters), len(after.adapters)
    adapters = plural(new, "adapter") if old == new else f"{plural(old, 'adapter')} {ARROW} {new}"
    return f"{handle} · {adapters}"


def _handle(snapshot: Snapshot) -> str:
    handle = snapshot.adapter_state.handle
    return "plain model" if handle == "plain" else handle


def _facts(adapter: Adapter) -> dict[str, Any]:
    return {"name": adapter.name, "method": adapter.method, "active": adapter.active, "merged": adapter.merged}
