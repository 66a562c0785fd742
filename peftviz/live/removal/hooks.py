"""Hooks that nothing needs any more: those that a forward of PEFT's left behind, those set for adapters' sake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.hooks import RemovableHandle

from peftviz.core.rules.drift import ONE_SETUP, gives_inputs_gradients, lives_for_one_forward
from peftviz.live.peft_facts import is_peft_class
from peftviz.live.removal.sweep import HOOK_SLOTS, delete_hook
from peftviz.live.snapshots.base_model import base_of
from peftviz.live.snapshots.module_state import hook_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from peftviz.live.removal.baseline import Earlier
    from peftviz.live.removal.survey import Holder, Survey
    from peftviz.live.removal.sweep import Edits


def sweep_left_by_forwards(survey: Survey, edits: Edits) -> Iterator[tuple[Holder, str]]:
    """Notes the removal of hooks that PEFT sets for one forward, which an exception in it left there.

    Yields:
        The module and the name of the hook's function.
    """
    for holder in survey.hooked:
        for slot in HOOK_SLOTS:
            for key, hook in vars(holder.module)[slot].items():
                text = hook_text(slot, hook)
                if lives_for_one_forward(text) and delete_hook(vars(holder.module), slot, key, edits):
                    yield holder, text.rpartition(".")[2]


def sweep_input_gradients(
    survey: Survey, earlier: Earlier, edits: Edits, *, is_last: bool
) -> Iterator[tuple[Holder, str]]:
    """Notes the removal of hooks that make embeddings require gradients, down to what the baseline had.

    While adapters live, gradient checkpointing may need one of them; only what piled up goes. Those to which the base
    keeps a handle go last: its `disable_input_require_grads` goes on working, and all of them do the same.

    Yields:
        The module and the name of the hook's function.
    """
    base = base_of(survey.model)
    handles = _handles(base)
    held = {(id(handle.hooks_dict_ref()), handle.id) for found in handles.values() for handle in found}
    gone: set[tuple[int, Any]] = set()
    for holder in survey.hooked:
        if is_peft_class(type(holder.module)) or id(holder.module) not in earlier.hooks:
            continue
        slots = vars(holder.module)
        for slot in HOOK_SLOTS:
            texts = {key: hook_text(slot, hook) for key, hook in slots[slot].items()}
            for text in dict.fromkeys(filter(gives_inputs_gradients, texts.values())):
                then = earlier.hooks[id(holder.module)][text]
                keys = [key for key in texts if texts[key] == text]
                wanted = then if is_last else len(keys) if len(keys) <= max(ONE_SETUP, then) else max(1, then)
                keys.sort(key=lambda key, mapping=slots[slot]: (id(mapping), key) in held)  # type: ignore[misc]
                for key in keys[: max(0, len(keys) - wanted)]:
                    if delete_hook(slots, slot, key, edits):
                        gone.add((id(slots[slot]), key))
                        yield holder, text.rpartition(".")[2]
    for name, found in handles.items():
        spent = all((id(handle.hooks_dict_ref()), handle.id) in gone for handle in found)
        if is_last and spent and name not in earlier.attributes:
            edits.delete(vars(base), name)


def _handles(base: torch.nn.Module) -> dict[str, list[RemovableHandle]]:
    """Attributes of the base that are handles of hooks, or lists of such."""
    found = {}
    for name, value in vars(base).items():
        handles = value if isinstance(value, list) else [value]
        if handles and all(isinstance(handle, RemovableHandle) for handle in handles):
            found[name] = handles
    return found
