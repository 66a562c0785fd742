"""Adaption prompts: the one method whose modules are swapped into the model while their adapter is active.

The tuner keeps, by adapter, the parents of the modules that it replaces, and the replacements of every adapter that is
not swapped in. Those lie outside the module tree until their adapter becomes active.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peftviz.live.peft_facts import (
    ACTIVE_OF_LAYER,
    REPLACED_MODULE,
    SWAPPED_IN,
    SWAPPED_OUT,
    SWAPPED_PARENTS,
    is_peft_class,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from peftviz.live.removal.activity import Activity
    from peftviz.live.removal.survey import Holder, Survey
    from peftviz.live.removal.sweep import Edits


@dataclass
class Swap:
    """What one tuner swaps when another adapter becomes active.

    Attributes:
        holder: The tuner.
        before: The adapter that is active now.
        after: The one that is active afterwards, None after the last.
        leaving: Module in whose place each replacement sits, its name there, the replacement.
        arriving: The same for those that come in.
    """

    holder: Holder
    before: str
    after: str | None
    leaving: list[tuple[torch.nn.Module, str, torch.nn.Module]] = field(default_factory=list)
    arriving: list[tuple[torch.nn.Module, str, torch.nn.Module]] = field(default_factory=list)

    def note(self, edits: Edits) -> None:
        """Notes the edits that carry it out."""
        final: dict[tuple[int, str], tuple[dict[str, Any], torch.nn.Module]] = {}
        for parent, name, replacement in self.leaving:
            children = vars(parent)["_modules"]
            final[id(parent), name] = (children, vars(replacement)["_modules"][REPLACED_MODULE])
        for parent, name, replacement in self.arriving:
            final[id(parent), name] = (vars(parent)["_modules"], replacement)
        for (_, name), (children, module) in final.items():
            edits.set(children, name, module)
        slots = vars(self.holder.module)
        if self.arriving:
            edits.delete(slots[SWAPPED_OUT], self.after)
        edits.set(slots, ACTIVE_OF_LAYER, self.after)

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Parameters that come into the tree."""
        for _, _, replacement in self.arriving:
            yield from own_parameters(replacement).values()


def swaps(survey: Survey, activity: Activity, names: frozenset[str]) -> list[Swap]:
    """What has to be swapped when the names go."""
    found = []
    for holder in survey.handles:
        slots = vars(holder.module)
        if SWAPPED_PARENTS not in slots or slots.get(ACTIVE_OF_LAYER) not in names:
            continue
        before = slots[ACTIVE_OF_LAYER]
        swap = Swap(holder, before, activity.after[0] if activity.after else None)
        if slots[SWAPPED_IN]:
            swap.leaving = [
                (parent, name, child)
                for parent in slots[SWAPPED_PARENTS][before]
                for name, child in vars(parent)["_modules"].items()
                if is_replacement(child)
            ]
            if swap.after is not None:
                swap.arriving = list(_places(slots, swap.after))
        found.append(swap)
    return found


def is_replacement(module: torch.nn.Module | None) -> bool:
    """Whether a module stands in the place of another one that it holds."""
    return module is not None and is_peft_class(type(module)) and REPLACED_MODULE in vars(module)["_modules"]


def own_parameters(replacement: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """What a replacement adds to the module whose place it takes."""
    return {name: item for name, item in vars(replacement)["_parameters"].items() if item is not None}


def _places(slots: dict[str, Any], adapter: str) -> Iterator[tuple[torch.nn.Module, str, torch.nn.Module]]:
    cached = slots[SWAPPED_OUT].get(adapter, ())
    for parent, replacement in zip(slots[SWAPPED_PARENTS][adapter], cached, strict=False):
        replaced = vars(replacement)["_modules"][REPLACED_MODULE]
        for name, child in vars(parent)["_modules"].items():
            if child is replaced or (is_replacement(child) and vars(child)["_modules"][REPLACED_MODULE] is replaced):
                yield parent, name, replacement
