"""Hooks that nothing needs any more: those that a forward of PEFT's left behind, those set for adapters' sake."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from torch.utils.hooks import RemovableHandle

from peftviz.core.rules.drift import ONE_SETUP, gives_inputs_gradients, lives_for_one_forward
from peftviz.live.peft_facts import is_peft_class
from peftviz.live.removal.sweep import HOOK_SLOTS, delete_hook
from peftviz.live.snapshots.base_model import base_of
from peftviz.live.snapshots.module_state import hook_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import torch

    from peftviz.live.removal.baseline import Earlier
    from peftviz.live.removal.survey import Holder, Survey
    from peftviz.live.removal.sweep import Edits


HOOKS_WITH_KWARGS = {
    "_forward_pre_hooks": "_forward_pre_hooks_with_kwargs",
    "_forward_hooks": "_forward_hooks_with_kwargs",
}
"""Slots of hooks, and of the marks of those that take keyword arguments."""


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


def move_hooks(
    survey: Survey, leaving: Collection[int], gone: Collection[int], edits: Edits
) -> Iterator[tuple[Holder, str]]:
    """Notes that hooks of a tuner on layers that are taken off go on to layers that stay.

    Such hooks mark where what the tuner carries through the model begins and ends: the one before a layer goes on to
    the next layer, the one after it to the one before.

    Args:
        survey: The model.
        leaving: `id` of wrappers that are taken off.
        gone: `id` of PEFT's modules whose hooks go with them.
        edits: Where to note it.

    Yields:
        The layer that gets a hook, and the name of the hook's function.
    """
    moves: list[_Move] = []
    for holder in survey.hooked:
        module = holder.module
        if id(module) not in leaving:
            continue
        stay = [
            other for other in survey.holders if type(other.module) is type(module) and id(other.module) not in leaving
        ]
        before, after = [o for o in stay if o.row < holder.row], [o for o in stay if o.row > holder.row]
        for slot, flags in HOOKS_WITH_KWARGS.items():
            targets = [*after, *reversed(before)] if slot == "_forward_pre_hooks" else [*reversed(before), *after]
            for key, hook in vars(module)[slot].items():
                tuner = getattr(hook, "__self__", None)
                goes = id(tuner) in gone or edits.deletes(vars(module)[slot], key)
                if not targets or goes or not is_peft_class(type(tuner)):
                    continue
                slots = vars(targets[0].module)
                handle = RemovableHandle(slots[slot], extra_dict=slots[flags])
                edits.set(slots[slot], handle.id, hook)
                if key in vars(module)[flags]:
                    edits.set(slots[flags], handle.id, vars(module)[flags][key])
                moves.append(_Move(tuner, vars(module)[slot], key, handle, module, targets[0].module))
                yield targets[0], hook.__name__
    for tuner in {id(move.tuner): move.tuner for move in moves}.values():
        _rebind(tuner, [move for move in moves if move.tuner is tuner], edits)


class _Move(NamedTuple):
    """A hook of a tuner that goes from one layer to another, with its handle there."""

    tuner: Any
    mapping: Mapping[int, Any]
    key: int
    handle: RemovableHandle
    layer: torch.nn.Module
    target: torch.nn.Module


def _rebind(tuner: torch.nn.Module, moves: list[_Move], edits: Edits) -> None:
    """Notes new lists for those of a tuner that hold handles of moved hooks, or the layers that these were on."""

    def now(item: Any, place: int) -> Any:
        for move in moves:
            if isinstance(item, RemovableHandle) and item.hooks_dict_ref() is move.mapping and item.id == move.key:
                return move.handle
        others = [move.target for move in moves if move.layer is item]
        return others[min(place, len(others) - 1)] if others else item

    for name, value in vars(tuner).items():
        if isinstance(value, list):
            seen: Counter[int] = Counter()
            rebound = []
            for item in value:
                rebound.append(now(item, seen[id(item)]))
                seen[id(item)] += 1
            if any(new is not old for new, old in zip(rebound, value, strict=True)):
                edits.set(vars(tuner), name, rebound)


def _handles(base: torch.nn.Module) -> dict[str, list[RemovableHandle]]:
    """Attributes of the base that are handles of hooks, or lists of such."""
    found = {}
    for name, value in vars(base).items():
        handles = value if isinstance(value, list) else [value]
        if handles and all(isinstance(handle, RemovableHandle) for handle in handles):
            found[name] = handles
    return found
