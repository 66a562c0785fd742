"""What a deletion cannot bring back, said and never guessed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from peftviz.core.rules.drift import gives_inputs_gradients
from peftviz.live.peft_facts import CONFIG_FIELDS_SET, changes_of_base, is_peft_class, is_peft_function
from peftviz.live.removal.handles import outer_handles
from peftviz.live.removal.sweep import HOOK_SLOTS
from peftviz.live.snapshots.base_model import config_values
from peftviz.live.snapshots.module_state import hook_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from peftviz.live.removal.baseline import Earlier
    from peftviz.live.removal.survey import Survey
    from peftviz.live.removal.sweep import Edits

CHANGES = {
    "weights": "changed base weights when it was added; they stay changed: load them again to have them back.",
    "biases": "trains biases of the base model in place; they keep their trained values.",
    "layers": "repeated layers of the base model; they stay repeated.",
}


def limits_of(
    survey: Survey,
    names: Collection[str],
    adapters: Collection[int],
    edits: Edits,
    *,
    is_last: bool,
    earlier: Earlier | None,
) -> tuple[str, ...]:
    """Warnings about what the adapters did to the base model and deletion does not undo.

    Args:
        survey: The model.
        names: Adapters that go.
        adapters: `id` of tensors that are no part of the base.
        edits: What is done.
        is_last: Whether no adapter is left.
        earlier: What a baseline says, where there is one.
    """
    warnings = [
        f"{argument} of {name!r} {CHANGES[kind]}"
        for name, config in survey.configs.items()
        if name in names
        for kind, argument in changes_of_base(config).items()
    ]
    if is_last and earlier is None:
        set_by_peft = [*_frozen(survey, adapters), *_set_in_config(survey)]
        if set_by_peft:
            warnings.append(
                f"{' and '.join(set_by_peft)}, which PEFT sets; without a baseline nobody can tell what was there "
                "before. Pass baseline=peftviz.capture(model), taken before the first adapter, to have it restored."
            )
    if is_last:
        warnings += _hooks_left(survey, edits, earlier)
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


def _hooks_left(survey: Survey, edits: Edits, earlier: Earlier | None) -> list[str]:
    """Hooks on modules of the base that PEFT set, or had transformers set, and that stay though they are new."""
    found: dict[str, int] = {}
    for holder in survey.hooked:
        if is_peft_class(type(holder.module)):
            continue
        before = earlier.hooks.get(id(holder.module), Counter()) if earlier is not None else Counter[str]()
        slots = vars(holder.module)
        now = Counter(
            hook_text(slot, hook)
            for slot in HOOK_SLOTS
            for key, hook in slots[slot].items()
            if not edits.deletes(slots[slot], key) and _for_adapters(slot, hook)
        )
        count = (now - before).total()
        if count:
            found[holder.path] = count
    advice = "" if earlier is not None else " Without a baseline nobody can tell what was there before."
    return [
        f"{count} {'hook stays' if count == 1 else 'hooks stay'} on {path or 'the model'}, set by or for PEFT for "
        f"gradient checkpointing, and harmless without it.{advice}"
        for path, count in found.items()
    ]


def _for_adapters(slot: str, hook: Any) -> bool:
    if is_peft_class(type(getattr(hook, "__self__", None))):
        return False  # methods go with theirs
    return is_peft_function(hook) or gives_inputs_gradients(hook_text(slot, hook))
