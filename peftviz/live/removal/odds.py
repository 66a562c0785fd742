"""Layers that run what is merged into their base weights, though something else is active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftviz.live.peft_facts import DISABLED_OF_LAYER, is_tuner_layer
from peftviz.live.removal.unwrap import adapters_on

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peftviz.live.removal.activity import Activity
    from peftviz.live.removal.survey import Holder, Survey


def layers_at_odds(survey: Survey, merged: Iterable[tuple[Holder, list[str]]], activity: Activity) -> set[int]:
    """`id` of the layers to unmerge: all of them, when in one not all active adapters are merged, or others are.

    What was deleted while it was merged cannot be taken out any more: such layers are left alone.

    Args:
        survey: The model.
        merged: Layers with what is merged in them.
        activity: What is to be active.
    """
    known = set(survey.names)
    found, at_odds = set(), False
    for holder, noted in merged:
        module = holder.module
        if not is_tuner_layer(type(module)) or vars(module).get(DISABLED_OF_LAYER):
            continue
        held = adapters_on(module, known, survey.shared)
        if held.issuperset(noted):
            found.add(id(module))
            at_odds |= held.intersection(activity.after) != set(noted)
    return found if at_odds else set()
