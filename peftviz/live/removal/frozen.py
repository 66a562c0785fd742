"""Adapters that go on being active and are frozen, which what goes may have brought about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from peftviz.live.peft_facts import is_for_inference
from peftviz.live.removal.activity import Activity, trainable_parameters

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch

    from peftviz.live.removal.baseline import Earlier
    from peftviz.live.removal.survey import Survey


@dataclass
class Frozen:
    """What becomes of frozen parameters of the active adapters.

    Attributes:
        thaw: Those that trained at the baseline.
        warnings: What is said of those that no baseline tells of; they stay frozen.
    """

    thaw: list[torch.nn.Parameter] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def frozen_beside(survey: Survey, activity: Activity, names: Collection[str], earlier: Earlier | None) -> Frozen:
    """Looks for frozen parameters of adapters that were active, stay so, and are not for inference.

    PEFT up to 0.18 freezes what is active when it adds an adapter for inference, as each loaded one is; a load that
    fails half-way leaves it so. So this looks only where such an adapter goes, or one that no config knows.

    Args:
        survey: The model.
        activity: What is active now and afterwards.
        names: Names that go.
        earlier: What a baseline says, where there is one.
    """
    configs, found = survey.configs, Frozen()
    if not activity.enabled or all(name in configs and not is_for_inference(configs[name]) for name in names):
        return found
    recorded = earlier.recorded if earlier is not None else {}
    for name in activity.after:
        if name not in activity.before or name not in configs or is_for_inference(configs[name]):
            continue
        own = list(trainable_parameters(survey, {(None, name)}))
        frozen = [parameter for parameter in own if not parameter.requires_grad]
        found.thaw += [parameter for parameter in frozen if recorded.get(id(parameter))]
        unknown = sum(id(parameter) not in recorded for parameter in frozen)
        if unknown:
            found.warnings.append(
                f"requires_grad is False for {unknown} of {len(own)} parameters of {name!r}, which is active and not "
                "for inference: older PEFT freezes them when it adds an adapter for inference. Without a baseline that "
                "has them nobody can tell who froze them: they stay so, until model.set_adapter makes them train again."
            )
    return found
