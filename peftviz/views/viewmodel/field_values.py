"""The values of changed fields before and after, as a reader writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import ModuleFlag, Role, TensorFlag
from peftviz.views.formatting import format_dtype, format_shape

if TYPE_CHECKING:
    from peftviz.core.diff import Diff

MAX_STATE_CHARACTERS = 20_000

FieldChange = tuple[str, Any, Any]


class FieldValues:
    """Reads field, value before and value after of rows that a diff calls changed."""

    def __init__(self, diff: Diff) -> None:
        self._diff = diff
        self._state_pairs: dict[tuple[int, int], list[FieldChange]] = {}

    def of_module(self, row: int) -> Iterator[FieldChange]:
        """Changed fields of a later module row; each attribute of its state is a field."""
        diff = self._diff
        old = int(diff.module_source[row])
        for field, changed in diff.module_fields.items():
            if not changed[row]:
                continue
            if field == "state":
                yield from self._state(int(diff.before.modules.state[old]), int(diff.after.modules.state[row]))
            else:
                yield field, _module_value(diff.before, old, field), _module_value(diff.after, row, field)

    def of_tensor(self, row: int) -> Iterator[FieldChange]:
        """Changed fields of a later tensor row."""
        diff = self._diff
        old = int(diff.tensor_source[row])
        for field, changed in diff.tensor_fields.items():
            if changed[row]:
                yield field, _tensor_value(diff.before, old, field), _tensor_value(diff.after, row, field)

    def _state(self, old: int, new: int) -> list[FieldChange]:
        # Layers alike went from one interned state to another: compare each pair once.
        known = self._state_pairs.get((old, new))
        if known is None:
            was, now = parsed_state(self._diff.before.states[old]), parsed_state(self._diff.after.states[new])
            keys = dict.fromkeys([*was, *now])
            known = [(key, was.get(key), now.get(key)) for key in keys if was.get(key) != now.get(key)]
            self._state_pairs[old, new] = known
        return known


def parsed_state(text: str) -> dict[str, Any]:
    """The state of a module from its JSON; of an enormous one only its size."""
    if len(text) > MAX_STATE_CHARACTERS:
        return {"cut": f"state of {len(text):,} characters"}
    return dict(json.loads(text)) if text else {}


def _module_value(snapshot: Snapshot, row: int, field: str) -> Any:
    table = snapshot.modules
    if field == "type":
        return snapshot.types[table.type[row]]
    if field == "training":
        return bool(table.flags[row] & ModuleFlag.TRAINING)
    if field == "role":
        return Role(int(table.role[row])).name.lower()
    if field == "adapter":
        return snapshot.adapter_names[table.adapter[row]] or None
    if field == "hooks":
        text = snapshot.hook_lists[table.hooks[row]]
        return json.loads(text) if text else []
    target = snapshot.alias_target(row)
    return None if target is None else snapshot.module_path(target)


def _tensor_value(snapshot: Snapshot, row: int, field: str) -> Any:
    table = snapshot.tensors
    spec, flags = snapshot.specs[table.spec[row]], int(table.flags[row])
    if field == "values":
        taken = int(table.fingerprint[row]) if len(table.fingerprint) else 0
        return f"{taken:016x}" if taken else None
    if field == "storage_nbytes":
        return int(snapshot.counted_bytes[table.storage[row]])
    if field == "role":
        return Role(int(table.role[row])).name.lower()
    values = {
        "shape": format_shape(spec.shape),
        "dtype": format_dtype(spec.dtype),
        "device": spec.device,
        "class": spec.type,
        "kind": "buffer" if flags & TensorFlag.BUFFER else "parameter",
        "requires_grad": bool(flags & TensorFlag.REQUIRES_GRAD),
        "persistent": bool(flags & TensorFlag.PERSISTENT),
        "adapter": snapshot.adapter_names[table.adapter[row]] or None,
        "version": int(table.version[row]),
    }
    return values.get(field)
