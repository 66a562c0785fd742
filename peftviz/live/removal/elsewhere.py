"""Other handles on the same base model, which were not passed in: they must not be left lying."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import torch

from peftviz.live.peft_facts import is_handle_class
from peftviz.live.removal.handles import registry_of_handle
from peftviz.live.snapshots.base_model import base_of

if TYPE_CHECKING:
    from peftviz.live.removal.survey import Survey
    from peftviz.live.snapshots.walk import Walk


def adopt_handles(survey: Survey, recorded: Walk | None = None) -> list[torch.nn.Module]:
    """Finds PEFT's handles on the same base among all living objects, and lets the survey look after them too.

    One look at the heap, and none where the count of references says that nobody else holds the base. It is sound
    since only identity counts: an object whose class is a handle of PEFT's, that is no part of the model, and that
    leads to the same base.

    Args:
        survey: The model.
        recorded: The walk that it was surveyed from, where that is still kept.

    Returns:
        The tuners, or whole handles where there is no tuner, that were found.
    """
    if not _has_several_holders(survey, recorded):
        return []
    base = base_of(survey.model)
    known = {id(module) for module in survey.tree.modules}
    found = [
        item
        for item in gc.get_objects()
        if issubclass(type(item), torch.nn.Module)
        and is_handle_class(type(item))
        and id(item) not in known
        and "_modules" in vars(item)
        and base_of(item) is base
    ]
    for handle in found:
        survey.adopt(handle)
    inner = [handle for handle in found if not any(child in found for child in vars(handle)["_modules"].values())]
    return [handle for handle in inner if registry_of_handle(handle)]


def _has_several_holders(survey: Survey, recorded: Walk | None) -> bool:
    """Whether more refers to the base than to the modules inside it, of which their parent alone holds at least one."""
    items = [base_of(survey.model)]
    items += [child for child in vars(items[0])["_modules"].values() if child is not None]
    items += [child for item in items[1:] for child in vars(item)["_modules"].values() if child is not None]
    noted = [owner for owner, _, _ in survey.registry_owners]
    noted += [place.parent for place in survey.places]
    noted += [holder.module for holder in survey.hooked]
    if recorded is not None:
        noted += [owner for _, owner in recorded.registries]
    own = sum(owner is items[0] for owner in noted)
    del noted
    counts = list(map(sys.getrefcount, items))
    return counts[0] - own > min(counts[1:], default=0)
