"""The sparse extras of a view table: which fields changed, and what the details panel says of a row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from peftviz.core.changes import state_changes
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, Role
from peftviz.views.field_values import FieldValues, parsed_state
from peftviz.views.marks import Marked
from peftviz.views.sides import Side
from peftviz.views.table import Status
from peftviz.views.unify import Tree

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
    rows: list[int] = []
    codes: list[int] = []
    payloads: dict[str, int] = {}
    cut = 0
    for row, text in _payloads(tree, before, after, shown):
        if text not in payloads and len(payloads) >= MAX_PAYLOADS:
            cut += 1
            continue
        rows.append(row)
        codes.append(payloads.setdefault(text, len(payloads)))
    order = sorted(range(len(rows)), key=rows.__getitem__)
    return {
        "rows": [rows[place] for place in order],
        "payload": [codes[place] for place in order],
        "payloads": [json.loads(text) for text in payloads],
        "cut": cut,
    }


def _payloads(tree: Tree, before: Side, after: Side, shown: npt.NDArray[np.bool_]) -> Iterator[tuple[int, str]]:
    gone = tree.after_row < 0
    for side, rows, only in ((after, tree.after_row, ~gone), (before, tree.before_row, gone)):
        snapshot = side.snapshot
        modules = np.flatnonzero(tree.module & only & (rows >= 0))
        own = rows[modules]
        known = (snapshot.modules.state[own] != 0) | (snapshot.modules.hooks[own] != 0)
        wanted = known & (shown[modules] | (snapshot.modules.role[own] == Role.WRAPPER))
        made: dict[tuple[int, int], str] = {}
        for row, module in zip(modules[wanted].tolist(), own[wanted].tolist(), strict=True):
            codes = int(snapshot.modules.state[module]), int(snapshot.modules.hooks[module])
            if codes not in made:
                made[codes] = json.dumps(_module_payload(snapshot, *codes), sort_keys=True)
            yield row, made[codes]
        tensors = np.flatnonzero(~tree.module & only & (rows >= 0))
        groups = _sharers(snapshot)
        for row, tensor in zip(tensors.tolist(), rows[tensors].tolist(), strict=True) if groups else ():
            members = groups.get(int(snapshot.tensors.storage[tensor]))
            if members:
                others = [side.tensor_path(other) for other in members if other != tensor]
                yield row, json.dumps({"shared_with": others[:MAX_SHARERS], "sharers": len(others)})


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
