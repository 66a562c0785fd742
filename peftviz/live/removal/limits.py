"""What a deletion cannot bring back, said and never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftviz.live.peft_facts import CONFIG_FIELDS_SET, changes_of_base, is_peft_class, is_peft_function
from peftviz.live.removal.handles import outer_handles
from peftviz.live.removal.sweep import HOOK_SLOTS
from peftviz.live.snapshots.base_model import config_values

if TYPE_CHECKING:
    from collections.abc import Collection

    from peftviz.live.removal.survey import Survey

CHANGES = {
    "weights": "changed base weights when it was added; they stay changed: load them again to have them back.",
    "biases": "trains biases of the base model in place; they keep their trained values.",
    "layers": "repeated layers of the base model; they stay repeated.",
}


def limits_of(
    survey: Survey, names: Collection[str], adapters: Collection[int], *, is_last: bool, baseline: bool
) -> tuple[str, ...]:
    """Warnings about what the adapters did to the base model and deletion does not undo.

    Args:
        survey: The model.
        names: Adapters that go.
        adapters: `id` of tensors that are no part of the base.
        is_last: Whether no adapter is left.
        baseline: Whether there is a snapshot from before the first adapter.
    """
    warnings = [
        f"{argument} of {name!r} {CHANGES[kind]}"
        for name, config in survey.configs.items()
        if name in names
        for kind, argument in changes_of_base(config).items()
    ]
    if is_last and not baseline:
        set_by_peft = [*_frozen(survey, adapters), *_set_in_config(survey)]
        if set_by_peft:
            warnings.append(
                f"{' and '.join(set_by_peft)}, which PEFT sets; without a baseline nobody can tell what was there "
                "before. Pass baseline=peftviz.capture(model), taken before the first adapter, to have it restored."
            )
    if is_last:
        warnings += _hooks_left(survey)
    return tuple(warnings)


def _frozen(survey: Survey, adapters: Collection[int]) -> list[str]:
    base = [parameter for parameter in survey.parameters if id(parameter) not in adapters]
    frozen = sum(not parameter.requires_grad for parameter in base)
    return [f"{frozen} of {len(base)} base parameters have requires_grad=False"] if frozen else []


def _set_in_config(survey: Survey) -> list[str]:
    """Entries of the config that handles set when they are made; injected adapters have none."""
    if not outer_handles(survey):
        return []
    values = config_values(survey.model)
    return [f"config.{name} is {values[name]!r}" for name in CONFIG_FIELDS_SET if name in values]


def _hooks_left(survey: Survey) -> list[str]:
    """PEFT's hooks on modules of the base; those that carry an adapter's name go, these it needs for gradients."""
    found: dict[str, int] = {}
    for holder in survey.hooked:
        if is_peft_class(type(holder.module)):
            continue
        slots = vars(holder.module)
        hooks = [hook for slot in HOOK_SLOTS for hook in slots[slot].values() if is_peft_function(hook)]
        count = sum(
            not is_peft_class(type(getattr(hook, "__self__", None))) for hook in hooks
        )  # methods go with theirs
        if count:
            found[holder.path] = count
    return [
        f"{count} {'hook' if count == 1 else 'hooks'} of PEFT's on {path or 'the model'} "
        f"{'stays' if count == 1 else 'stay'}: set for gradient checkpointing, and harmless without it."
        for path, count in found.items()
    ]
