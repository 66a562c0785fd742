"""Checks that a deletion led where its plan promised, and measures what it freed."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.multiprocessing.reductions import StorageWeakRef

from peftviz.core.plan import Freed
from peftviz.errors import VerificationError
from peftviz.live.peft_facts import MERGED_OF_LAYER, handle_kind, is_peft_class
from peftviz.live.removal.activity import read_activity
from peftviz.live.removal.prepare import Prepared, storage_bytes
from peftviz.live.removal.retainers import holders_of
from peftviz.live.removal.survey import Survey
from peftviz.live.removal.sweep import as_list, find_traces

if TYPE_CHECKING:
    import torch

    from peftviz.live.snapshots.walk import Walk

MAX_EXPLAINED = 4
"""Of so many tensors that stay alive the holders are looked up; each look-up reads the whole heap."""


@dataclass
class Before:
    """What must not change, noted before the first mutation."""

    flags: dict[int, bool]
    merged: dict[int, list[str]]


def note_before(prepared: Prepared) -> Before:
    """Notes the flags and merged adapters of everything that survives."""
    return Before(
        flags={id(parameter): parameter.requires_grad for parameter in prepared.survey.parameters},
        merged=_merged(prepared.survey),
    )


def _merged(survey: Survey) -> dict[int, list[str]]:
    return {
        id(holder.module): as_list(vars(holder.module)[MERGED_OF_LAYER])
        for holder in survey.holders
        if vars(holder.module).get(MERGED_OF_LAYER) and is_peft_class(type(holder.module))
    }


def verify(prepared: Prepared, before: Before, recorded: Walk | None = None) -> None:
    """Compares the model with the plan.

    Args:
        prepared: The plan and the objects it was made from.
        before: What must not change.
        recorded: A walk of what is left that kept its objects, where there is one.

    Raises:
        VerificationError: Something is not as promised.
    """
    survey = prepared.survey.again(recorded)
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
    arriving = {id(parameter) for swap in prepared.swaps for parameter in swap.parameters()}
    expected = (set(map(id, prepared.survey.parameters)) - prepared.doomed_ids) | arriving
    if set(map(id, survey.parameters)) != expected:
        wrong.append(f"{len(expected)} parameters should be left, there are {len(survey.parameters)}")
    flips = 0
    for parameter in prepared.survey.parameters:
        planned = prepared.flags.get(id(parameter))
        flips += parameter.requires_grad != (before.flags[id(parameter)] if planned is None else planned[1])
    if flips:
        wrong.append(f"requires_grad of {flips} parameters is not as planned")
    gone = set(plan.names)
    merged = {key: [name for name in names if name not in gone] for key, names in before.merged.items()}
    if _merged(survey) != {key: names for key, names in merged.items() if names}:
        wrong.append("other adapters are merged than before")
    active = read_activity(survey, ()).before
    if active != plan.next_active:
        wrong.append(f"active adapters are {list(active)}, not {list(plan.next_active)}")
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
        self._tensors = [
            (container.owner.row, f"{container.name}.{path}", weakref.ref(tensor))
            for container, path, tensor in prepared.doomed
        ]
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        for *_, tensor in prepared.doomed:
            try:
                storage = tensor.untyped_storage()
            except (NotImplementedError, RuntimeError):
                continue
            self._storages.setdefault(storage._cdata, (StorageWeakRef(storage), storage_bytes(tensor)))

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
