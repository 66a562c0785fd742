"""Weights of one adapter that have several dtypes within a layer."""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING

import torch

from peftviz.core.rules.dtypes import CAN_BE_WIDENED
from peftviz.live.peft_facts import is_tuner_layer
from peftviz.live.removal.activity import parameters_under

if TYPE_CHECKING:
    from collections.abc import Collection

    from peftviz.live.removal.survey import Survey

WIDENED = frozenset(getattr(torch, name) for name in CAN_BE_WIDENED)


def mixed_dtypes(survey: Survey, gone: Collection[str]) -> list[tuple[torch.nn.Parameter, torch.dtype]]:
    """Parameters that are narrower than others of their adapter in the same layer, each with the dtype that holds both.

    No value is lost by it.

    Args:
        survey: The model.
        gone: Adapters that do not count.
    """
    beside: dict[tuple[int, str], list[torch.nn.Parameter]] = defaultdict(list)
    for container in survey.containers:
        owner = container.owner.module
        if is_tuner_layer(type(owner)) and id(owner) not in survey.followers:
            for name in container.keys:
                if name not in gone:
                    beside[id(owner), name] += parameters_under(container.module, name)
    found = []
    for parameters in beside.values():
        dtypes = {parameter.dtype for parameter in parameters}
        if len(dtypes) > 1 and dtypes <= WIDENED:
            widest = functools.reduce(torch.promote_types, dtypes)
            found += [(parameter, widest) for parameter in parameters if parameter.dtype != widest]
    return found
