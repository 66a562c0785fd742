"""What a deletion cannot bring back, said and never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftviz.live.peft_facts import MODEL_SLOTS, is_peft_class, is_peft_function
from peftviz.live.sweep import HOOK_SLOTS

if TYPE_CHECKING:
    from collections.abc import Collection

    from peftviz.live.survey import Survey

CHANGING_INITIALISERS = ("pissa", "olora", "corda", "loftq")
"""First words of `init_lora_weights` that write into the base weights."""


def limits_of(survey: Survey, names: Collection[str], *, is_last: bool, baseline: bool) -> tuple[str, ...]:
    """Warnings about what the adapters did to the base model and deletion does not undo."""
    warnings = []
    for name, config in survey.configs.items():
        if name not in names:
            continue
        fields = vars(config) if hasattr(config, "__dict__") else {}
        initialiser = fields.get("init_lora_weights")
        if isinstance(initialiser, str) and initialiser.startswith(CHANGING_INITIALISERS):
            warnings.append(
                f"init_lora_weights={initialiser!r} of {name!r} changed base weights when it was added; "
                "they stay changed: load the base weights again to have them back."
            )
        bias = fields.get("bias")
        if isinstance(bias, str) and bias != "none":
            warnings.append(
                f"bias={bias!r} of {name!r} trains biases of the base model in place; they keep their trained values."
            )
        if fields.get("layer_replication"):
            warnings.append(f"layer_replication of {name!r} repeated layers of the base model; they stay repeated.")
    if is_last and not baseline:
        adapters = _adapter_parameters(survey)
        base = [parameter for parameter in survey.parameters if id(parameter) not in adapters]
        frozen = sum(not parameter.requires_grad for parameter in base)
        if frozen:
            warnings.append(
                f"{frozen} of {len(base)} base parameters have requires_grad=False, which PEFT sets; without a "
                "baseline nobody can tell which were frozen before. Pass baseline=peftviz.capture(model), taken "
                "before the first adapter, to have them restored."
            )
    if is_last:
        warnings += _hooks_left(survey)
    return tuple(warnings)


def _hooks_left(survey: Survey) -> list[str]:
    """PEFT's hooks on modules of the base; those that carry an adapter's name go, these it needs for gradients."""
    found: dict[str, int] = {}
    for holder in survey.hooked:
        if is_peft_class(type(holder.module)):
            continue
        slots = vars(holder.module)
        count = sum(is_peft_function(hook) for slot in HOOK_SLOTS for hook in slots[slot].values())
        if count:
            found[holder.path] = count
    return [
        f"{count} {'hook' if count == 1 else 'hooks'} of PEFT's on {path or 'the model'} "
        f"{'stays' if count == 1 else 'stay'}: set for gradient checkpointing, and harmless without it."
        for path, count in found.items()
    ]


def _adapter_parameters(survey: Survey) -> set[int]:
    return {
        id(parameter)
        for container in survey.containers
        if container.name not in MODEL_SLOTS
        for parameter in container.module.parameters()
    }
