"""Checks that a deletion led where its plan promised, and measures what it freed."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch.multiprocessing.reductions import StorageWeakRef

from peftviz.core.plan import Freed
from peftviz.core.tables import TensorFlag
from peftviz.errors import VerificationError
from peftviz.live.peft_facts import handle_kind, is_auxiliary_wrapper, is_tuner_layer
from peftviz.live.removal.activity import active_of, available_on, read_activity
from peftviz.live.removal.prepare import Prepared, merged_layers
from peftviz.live.removal.retainers import holders_of
from peftviz.live.removal.sweep import find_traces
from peftviz.live.snapshots.identity import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import torch

    from peftviz.core.tables import BoolArray, IntArray
    from peftviz.live.removal.survey import Survey
    from peftviz.live.snapshots.walk import Walk

MAX_EXPLAINED = 4
"""Of so many tensors that stay alive the holders are looked up; each look-up reads the whole heap."""


@dataclass
class Before:
    """What must not change, noted before the first mutation.

    Attributes:
        flags: Serial number of each parameter, ascending, and its `requires_grad`.
        merged: Adapters that are merged into a layer, by `id` of the layer.
        at_odds: `id` of the layers and wrappers that ran something else than what was active.
    """

    flags: tuple[IntArray, BoolArray]
    merged: dict[int, list[str]]
    at_odds: set[int]


def note_before(prepared: Prepared) -> Before:
    """Notes the flags, the merged and the active adapters of everything that survives."""
    survey = prepared.survey
    return Before(
        flags=_flags(survey.tree.walk),
        merged=_merged(survey),
        at_odds={id(module) for module, _ in _at_odds(survey, prepared.activity.before)},
    )


def _flags(walk: Walk) -> tuple[IntArray, BoolArray]:
    tensors = walk.tensors
    is_parameter = (tensors.flags & TensorFlag.BUFFER) == 0
    serials, rows = np.unique(tensors.identity[is_parameter], return_index=True)
    return serials, ((tensors.flags & TensorFlag.REQUIRES_GRAD) != 0)[is_parameter][rows]


def _flags_as_planned(prepared: Prepared, before: Before) -> tuple[IntArray, BoolArray]:
    serials, flags = before.flags
    stays = np.isin(serials, REGISTRY.serials([tensor for *_, tensor in prepared.doomed]), invert=True)
    serials, flags = serials[stays], flags[stays]
    changed = list(prepared.flags.values())
    places = np.searchsorted(serials, REGISTRY.serials([parameter for parameter, _ in changed]))
    flags[places] = [flag for _, flag in changed]
    arriving = [parameter for swap in prepared.swaps for parameter in swap.parameters()]
    serials, rows = np.unique(np.concatenate([serials, REGISTRY.serials(arriving)]), return_index=True)
    return serials, np.concatenate([flags, [bool(parameter.requires_grad) for parameter in arriving]])[rows]


def _merged(survey: Survey) -> dict[int, list[str]]:
    return {id(holder.module): noted for holder, noted in merged_layers(survey)}


def _at_odds(survey: Survey, active: Collection[str]) -> Iterator[tuple[torch.nn.Module, int]]:
    """Layers and wrappers, each with its row, that do not run the active adapters they hold, or run others."""
    for alike in survey.alike:
        if not (is_tuner_layer(alike.cls) or is_auxiliary_wrapper(alike.cls)):
            continue
        noted = set(active_of(alike.first.module))
        if noted == set(active):
            continue
        for holder in alike.holders:
            held = set(available_on(holder.module))
            if noted & held != held.intersection(active) and id(holder.module) not in survey.followers:
                yield holder.module, holder.row


def verify(prepared: Prepared, before: Before, recorded: Walk | None = None) -> None:
    """Compares the model with the plan.

    Args:
        prepared: The plan and the objects it was made from.
        before: What must not change.
        recorded: A walk of what is left that kept its objects, where there is one; it serves if its root is the same.

    Raises:
        VerificationError: Something is not as promised.
    """
    same_root = recorded is not None and recorded.model is prepared.survey.model
    survey = prepared.survey.anew(recorded if same_root else None)
    plan = prepared.plan
    paths = survey.tree.paths
    wrong = find_traces(survey, frozenset(plan.names), set(prepared.survey.names) | set(plan.names))
    wrong += [f"{paths[place.row]} is still wrapped" for place in survey.places if id(place.module) in prepared.leaving]
    if plan.is_last and plan.unwrap:
        wrong += (
            [f"{paths[row] or 'the model'} still has a registry" for row, _ in survey.registries]
            if handle_kind(survey.model) is None
            else []
        )
        wrong += [f"{paths[place.row]} is still wrapped" for place in survey.places]
    (expected, planned), (found, flags) = _flags_as_planned(prepared, before), _flags(survey.tree.walk)
    if not np.array_equal(found, expected):
        wrong.append(f"{len(expected)} parameters should be left, there are {len(found)}")
    _, ours, theirs = np.intersect1d(expected, found, assume_unique=True, return_indices=True)
    if flips := np.count_nonzero(planned[ours] != flags[theirs]):
        wrong.append(f"requires_grad of {flips} parameters is not as planned")
    gone = set(plan.names)
    merged = {key: [name for name in names if name not in gone] for key, names in before.merged.items()}
    if _merged(survey) != {key: names for key, names in merged.items() if names}:
        wrong.append("other adapters are merged than before")
    active = read_activity(survey, ()).before
    if active != plan.next_active:
        wrong.append(f"active adapters are {list(active)}, not {list(plan.next_active)}")
    wrong += [
        f"{paths[row]} does not run what is active"
        for module, row in _at_odds(survey, active)
        if id(module) not in before.at_odds
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise VerificationError(
            f"Deleting {plan.adapter!r} did not lead where its plan promised: {'; '.join(wrong[:5])}{more}.",
            where=f"adapter {plan.adapter!r}",
            hint="The model is as it was before. Please report this with the PEFT version and the adapters' configs.",
        )


class Watched:
    """Weak references to tensors that are about to go, and to their storages."""

    def __init__(self, prepared: Prepared) -> None:
        self._paths = prepared.survey.tree.paths
        self._tensors = [(row, path, weakref.ref(tensor)) for row, path, tensor in prepared.doomed]
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        for *_, tensor in prepared.doomed:
            try:
                storage = tensor.untyped_storage()
            except (NotImplementedError, RuntimeError):
                continue
            if storage._cdata not in self._storages:
                self._storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())

    def measure(self) -> Freed:
        """Looks what is gone; collects garbage first when something is not."""
        if any(ref() is not None for *_, ref in self._tensors):
            gc.collect()
        alive: list[tuple[str, tuple[str, ...]]] = []
        for row, path, ref in self._tensors:
            tensor: torch.Tensor | None = ref()
            if tensor is not None:
                alive.append((self._paths.below(row, path), holders_of(tensor) if len(alive) < MAX_EXPLAINED else ()))
            del tensor
        return Freed(
            bytes=sum(nbytes for storage, nbytes in self._storages.values() if storage.expired()),
            tensors=len(self._tensors) - len(alive),
            alive=tuple(alive),
        )
