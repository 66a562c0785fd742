"""The sparse extras of a view table: which fields changed, and what the details panel says of a row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from peftviz.core.changes import state_changes
from peftviz.core.rules.columns import distinct
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, Role
from peftviz.views.viewmodel.field_values import FieldValues, parsed_state
from peftviz.views.viewmodel.marks import Marked
from peftviz.views.viewmodel.sides import Side
from peftviz.views.viewmodel.table import Status
from peftviz.views.viewmodel.unify import Tree

if TYPE_CHECKING:
    from peftviz.core.diff import Diff

MAX_CHANGES = 20_000
"""Field changes listed; `summary["changes_cut"]` says how many rows were left out."""
MAX_PAYLOADS = 4_000
MAX_SHARERS = 8


def row_changes(tree: Tree, diff: Diff) -> tuple[list[list[Any]], int]:
    """`[row, field, before, after]` for each changed field, in row order, and the number of rows left out.

    What changed in the model as a whole (its adapters, their configs) stands at row 0.
    """
    changes = [[0, *change] for change in state_changes(diff.before, diff.after)]
    sides = [(tree.after_modules, True, diff.module_fields), (tree.after_tensors, False, diff.tensor_fields)]
    hits: list[tuple[int, bool, int]] = []
    for rows, module, fields in sides:
        touched = np.zeros(len(rows), bool)
        for column in fields.values():
            touched |= column
        own_rows = np.flatnonzero(touched)
        places = rows[own_rows].tolist()
        hits += zip(places, [module] * len(places), own_rows.tolist(), strict=True)
    hits.sort()
    values = FieldValues(diff)
    for position, (row, module, own) in enumerate(hits):
        if len(changes) >= MAX_CHANGES:
            return changes, len(hits) - position
        found = values.of_module(own) if module else values.of_tensor(own)
        changes += [[row, *change] for change in found]
    return changes, 0


def row_details(tree: Tree, before: Side, after: Side, status: IntArray, marked: Marked) -> dict[str, Any]:
    """The `details` of a view table, for rows that changed, carry a finding, or are wrappers with a state.

    Args:
        tree: The unified tree.
        before: Side before.
        after: Side after.
        status: Status by row.
        marked: The findings and their rows.
    """
    shown = (status != Status.SAME) & (status != Status.INSIDE)
    for red in marked.rows:
        shown[red] = True
    code = np.full(len(status), -1, np.int64)
    payloads: dict[str, int] = {}
    cut = 0
    for rows, text in _payloads(tree, before, after, shown):
        if text not in payloads and len(payloads) >= MAX_PAYLOADS:
            cut += len(rows)
            continue
        code[rows] = payloads.setdefault(text, len(payloads))
    told = np.flatnonzero(code >= 0)
    return {
        "rows": told.tolist(),
        "payload": code[told].tolist(),
        "payloads": [json.loads(text) for text in payloads],
        "cut": cut,
    }


def _payloads(
    tree: Tree, before: Side, after: Side, shown: npt.NDArray[np.bool_]
) -> Iterator[tuple[IntArray | list[int], str]]:
    """Rows that have the same to tell, and what it is, as JSON."""
    gone = tree.after_row < 0
    for side, rows, only in ((after, tree.after_row, ~gone), (before, tree.before_row, gone)):
        snapshot = side.snapshot
        modules = np.flatnonzero(tree.module & only & (rows >= 0))
        own = rows[modules]
        known = (snapshot.modules.state[own] != 0) | (snapshot.modules.hooks[own] != 0)
        wanted = known & (shown[modules] | (snapshot.modules.role[own] == Role.WRAPPER))
        modules, own = modules[wanted], own[wanted]
        for state, hooks, places in distinct(snapshot.modules.state[own], snapshot.modules.hooks[own]):
            yield modules[places], json.dumps(_module_payload(snapshot, state, hooks), sort_keys=True)
        groups = _sharers(snapshot)
        tensors = np.flatnonzero(~tree.module & only & (rows >= 0))
        tensors = tensors[np.isin(snapshot.tensors.storage[rows[tensors]], list(groups))]
        for row, tensor in zip(tensors.tolist(), rows[tensors].tolist(), strict=True):
            others = [
                side.tensor_path(other) for other in groups[int(snapshot.tensors.storage[tensor])] if other != tensor
            ]
            yield [row], json.dumps({"shared_with": others[:MAX_SHARERS], "sharers": len(others)})


def _module_payload(snapshot: Snapshot, state: int, hooks: int) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if state:
        payload["state"] = parsed_state(snapshot.states[state])
    if hooks:
        payload["hooks"] = json.loads(snapshot.hook_lists[hooks])
    return payload


def _sharers(snapshot: Snapshot) -> dict[int, list[int]]:
    """Tensor rows by storage, for storages that several share."""
    storage = snapshot.tensors.storage
    followers = np.flatnonzero(storage != np.arange(len(storage)))
    groups: dict[int, list[int]] = {}
    for row, leader in zip(followers.tolist(), storage[followers].tolist(), strict=True):
        groups.setdefault(leader, [leader]).append(row)
    return groups
