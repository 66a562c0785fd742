"""Turns a deletion into a list of edits and a plan a person can read; nothing is touched."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from peftviz.core.plan import Actions, DeletionPlan, Noted
from peftviz.live.peft_facts import (
    DISABLED_OF_LAYER,
    MERGED_OF_LAYER,
    WEIGHER,
    experts_of,
    is_auxiliary_wrapper,
    is_for_inference,
)
from peftviz.live.removal.activity import (
    Activity,
    read_activity,
    switch,
    trainable_parameters,
    was_switched_off,
    wrapped_parameters,
)
from peftviz.live.removal.adaption import Swap, swaps
from peftviz.live.removal.doomed import Doomed, doomed_in_containers, doomed_outside, weighers
from peftviz.live.removal.dtypes import mixed_dtypes
from peftviz.live.removal.forgetting import empty_handles, forget_configs
from peftviz.live.removal.frozen import frozen_beside
from peftviz.live.removal.handles import loses_all
from peftviz.live.removal.hooks import move_hooks, sweep_input_gradients, sweep_left_by_forwards
from peftviz.live.removal.keeping import replaced
from peftviz.live.removal.limits import limits_of
from peftviz.live.removal.odds import layers_at_odds
from peftviz.live.removal.survey import Holder, Survey
from peftviz.live.removal.sweep import Edits, as_list, sweep_containers, sweep_hooks, sweep_state
from peftviz.live.removal.unwrap import (
    adapted_copies,
    correct_declarations,
    correct_targets,
    empty_wrappers,
    is_bare_afterwards,
    plan_taking_out,
    plan_unwrapping,
)
from peftviz.live.snapshots.base_model import base_of, config_values

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import torch

    from peftviz.live.removal.baseline import Earlier


@dataclass
class Prepared:
    """A plan with the live objects that carrying it out needs; it is dropped before the freed memory is measured.

    Attributes:
        survey: The model.
        plan: The plan for a reader.
        edits: What is done to dictionaries.
        activity: What is active now and afterwards.
        merged: Layers that have to be unmerged first.
        set_straight: Those of them that stay unmerged, by `id`: what was merged there is not what is active.
        casts: Parameters that get another dtype.
        again: Works all of it out anew on another survey: unmerging may have put other objects in place.
        doomed: Tensors that go: row of a module that holds each, its path from there, the tensor.
        doomed_rows: Rows of those that have one, which come first.
        doomed_ids: `id` of those.
        flags: Parameters whose `requires_grad` is set, by `id`.
        leaving: Wrappers that are taken off, by `id`.
        swaps: Adaption prompts that are swapped.
        model_after: What to go on with.
    """

    survey: Survey
    plan: DeletionPlan
    edits: Edits
    activity: Activity
    again: Callable[[Survey], Prepared]
    merged: list[Holder] = field(default_factory=list)
    set_straight: set[int] = field(default_factory=set)
    casts: list[tuple[torch.nn.Parameter, torch.dtype]] = field(default_factory=list)
    doomed: list[Doomed] = field(default_factory=list)
    doomed_rows: list[int] = field(default_factory=list)
    doomed_ids: set[int] = field(default_factory=set)
    flags: dict[int, tuple[torch.nn.Parameter, bool]] = field(default_factory=dict)
    leaving: dict[int, torch.nn.Module] = field(default_factory=dict)
    swaps: list[Swap] = field(default_factory=list)
    model_after: torch.nn.Module | None = None


def prepare(
    survey: Survey,
    adapter: str,
    names: Collection[str],
    *,
    unwrap: bool,
    earlier: Earlier | None = None,
    mend: bool = False,
    kept: Mapping[int, torch.nn.Module] | None = None,
    in_base: Collection[str] = (),
) -> Prepared:
    """Works out everything a deletion does.

    Args:
        survey: The model.
        adapter: The adapter to delete, for the plan's text.
        names: Every name that goes.
        unwrap: Whether to take off wrappers that nobody needs any more.
        earlier: What a baseline says; flags, config and hooks are as they were when the last adapter goes.
        mend: Bring everything in line, not only what the names touch: empty wrappers, active adapters, flags.
        kept: Trained copies that take the place of what their wrapper wraps, by `id` of the wrapper.
        in_base: Adapters whose changes stay in the base weights: merged ones are not taken out.
    """
    wanted = frozenset(names)
    known = set(survey.names) | wanted
    configs = survey.configs
    remaining = [name for name in survey.living if name not in wanted]
    is_last = not remaining
    activity = read_activity(survey, wanted, majority=mend)
    edits = Edits()
    actions: list[Noted] = []
    again = functools.partial(
        prepare,
        adapter=adapter,
        names=names,
        unwrap=unwrap,
        earlier=earlier,
        mend=mend,
        kept=kept,
        in_base=in_base,
    )
    prepared = Prepared(survey, None, edits, activity, again)  # type: ignore[arg-type]

    prepared.swaps = swaps(survey, activity, wanted)
    kept = kept or {}
    leave = wanted.difference(in_base)
    merged = merged_layers(survey)
    if mend:
        prepared.set_straight = layers_at_odds(survey, merged, activity)
        prepared.casts = mixed_dtypes(survey, wanted)
    merged = [
        (holder, noted)
        for holder, noted in merged
        if not leave.isdisjoint(noted) or id(holder.module) in prepared.set_straight
    ]
    prepared.merged = [holder for holder, _ in merged]
    actions += [("unmerge", holder.row, "", "taken out of the base weights") for holder, _ in merged]
    prepared.doomed_rows, prepared.doomed = doomed_in_containers(survey, wanted, kept)
    prepared.doomed += [*doomed_outside(survey, wanted, prepared.swaps), *replaced(survey, kept)]
    prepared.doomed_ids = {id(tensor) for *_, tensor in prepared.doomed}
    trainable = any(tensor.requires_grad for *_, tensor in prepared.doomed)
    if mend:  # a copy that comes back trains when the rest of its adapter does
        active = {(None, name) for name in activity.after}
        trainable = any(parameter.requires_grad for parameter in trainable_parameters(survey, active))
    if unwrap:
        prepared.leaving = empty_wrappers(survey, wanted, known, only_touched=not (is_last or mend))

    entries = {name: f"entry {name!r}" for name in wanted}
    actions += [
        ("remove", container.owner.row, container.name, entries[name])
        for container, name in sweep_containers(survey, wanted, edits)
    ]
    replacement = activity.after[0] if activity.after else None
    forgetting: list[Noted] = []
    for holders, attributes in sweep_state(survey, wanted, known, replacement, edits, prepared.leaving):
        detail = f"mentioned in {', '.join(attributes)}"
        forgetting += [("forget", holder.row, "", detail) for holder in holders]
        correct_declarations([holder.module for holder in holders], wanted, edits)
    actions += sorted(forgetting, key=itemgetter(1))
    gone = set(prepared.leaving)
    gone.update(id(handle.module) for handle in survey.handles if unwrap and loses_all(handle.module, wanted))
    actions += [("detach", holder.row, "", f"hook {hook}") for holder, hook in sweep_hooks(survey, wanted, edits, gone)]
    moved_hooks = move_hooks(survey, prepared.leaving.keys(), gone, edits)
    actions += [("attach", holder.row, "", f"hook {hook}, from a layer that goes") for holder, hook in moved_hooks]

    if mend:
        left = sweep_left_by_forwards(survey, edits)
        actions += [("detach", holder.row, "", f"hook {hook}, left by a forward") for holder, hook in left]

    moved: set[tuple[int | None, str]] = {(None, name) for name in activity.arrived}
    for holder, before, after in switch(survey, activity, wanted, prepared.leaving.keys(), edits, align=mend):
        kind = "activate" if after else "deactivate"
        actions.append((kind, holder.row, "", f"{_words(before)} -> {_words(after)}"))
        if is_auxiliary_wrapper(type(holder.module)):
            moved.update((id(holder.module), name) for name in after if name not in before)
    for holder in weighers(survey, wanted):
        edits.delete(vars(holder.module)["_modules"], WEIGHER)
        actions.append(("remove", holder.row, WEIGHER, "weighs experts that go"))
    for swap in prepared.swaps:
        swap.note(edits)
        actions.append(
            (
                "activate" if swap.after else "deactivate",
                swap.holder.row,
                "",
                f"{_words((swap.before,))} -> {_words((swap.after,) if swap.after else ())}",
            )
        )
    if trainable:
        _train(prepared, moved, configs, actions)
    _freeze_switched_off(prepared, actions, is_last=is_last)

    done = plan_unwrapping(survey, prepared.leaving, edits, kept)
    actions += [("unwrap", row, "", f"{cls} comes off") for row, cls in done]
    if unwrap:
        taken = plan_taking_out(survey, wanted, edits, also_empty=is_last or mend)
        actions += [("unwrap", row, "", f"{cls} comes off") for row, cls in taken]
    if wanted or done:
        tree = survey.tree
        bare = {tree.paths[row] for row, _ in done if is_bare_afterwards(tree.modules[row], prepared.leaving.keys())}
        bare |= adapted_copies(survey, wanted)
        correct_targets(survey, bare, edits, strays=mend or is_last or not configs.keys() >= wanted)
    forget_configs(survey, edits, wanted, is_last=is_last, unwrap=unwrap, also_empty=is_last or mend, actions=actions)
    if wanted or done:  # PEFT may have deleted the last one, and left its wrappers
        empty_handles(survey, wanted, edits)
    if earlier is not None and (is_last or mend):
        _restore(prepared, earlier, actions, is_last=is_last)
    frozen = frozen_beside(survey, activity, wanted, earlier)
    thawed = sum(_flag(prepared, parameter, True) for parameter in frozen.thaw)
    if thawed:
        actions.append(("restore", 0, "", f"requires_grad of {thawed} parameters, as in the baseline"))
    actions += [
        ("merge", holder.row, "", f"{_words(tuple(others))} merged again")
        for holder, noted in merged
        if (others := [name for name in noted if name not in wanted]) and id(holder.module) not in prepared.set_straight
    ]
    if prepared.casts:
        said = ", ".join(sorted({str(dtype).removeprefix("torch.") for _, dtype in prepared.casts}))
        actions.append(("cast", 0, "", f"{len(prepared.casts)} parameters to {said}, like those beside them"))
    count, nbytes = _size(prepared)
    warnings = limits_of(survey, leave, prepared.doomed_ids, edits, is_last=is_last, earlier=earlier)
    prepared.plan = DeletionPlan(
        adapter=adapter,
        handle=survey.kind or "plain",
        actions=Actions(actions, survey.tree.paths),
        names=tuple(dict.fromkeys((adapter, *sorted(wanted)))) if adapter else tuple(sorted(wanted)),
        active_before=activity.before,
        next_active=activity.after,
        remaining=tuple(remaining),
        tensors=count,
        nbytes=nbytes,
        is_last=is_last,
        unwrap=unwrap,
        warnings=(*warnings, *frozen.warnings),
        experts=experts_of(configs.get(adapter)),
    )
    prepared.model_after = base_of(survey.model) if is_last and unwrap else survey.model
    return prepared


def merged_layers(survey: Survey) -> list[tuple[Holder, list[str]]]:
    """Layers with adapters in their base weights, and which, in preorder."""
    found = [
        (holder, noted)
        for alike in survey.alike
        if (noted := as_list(vars(alike.first.module).get(MERGED_OF_LAYER)))
        for holder in alike.holders
    ]
    return sorted(found, key=lambda entry: entry[0].row)


def _size(prepared: Prepared) -> tuple[int, int]:
    """Number of doomed tensors, and bytes of the storages that nothing else in the model uses."""
    tensors = prepared.survey.tree.walk.tensors
    if len(prepared.doomed_rows) < len(prepared.doomed):
        return len(prepared.doomed_ids), _size_of_objects(prepared)
    goes = np.isin(tensors.identity, tensors.identity[prepared.doomed_rows])  # at each of their places
    kept = np.zeros(len(goes), bool)
    kept[tensors.storage[~goes]] = True
    leaders = np.unique(tensors.storage[goes])
    leaders = leaders[~kept[leaders]]
    nbytes = np.array([spec.nbytes for spec in tensors.specs], np.int64)[tensors.spec]
    nbytes[tensors.odd_storage_rows] = tensors.odd_storage_nbytes
    return len(prepared.doomed_ids), int(nbytes[leaders].sum())


def _size_of_objects(prepared: Prepared) -> int:
    """As above, where some of the doomed lie outside the tree."""
    ids = prepared.doomed_ids
    storages = {storage_key(tensor): tensor for *_, tensor in prepared.doomed}
    kept = {storage_key(parameter) for parameter in prepared.survey.parameters if id(parameter) not in ids}
    return sum(storage_bytes(tensor) for key, tensor in storages.items() if key not in kept)


def storage_key(tensor: torch.Tensor) -> int:
    """Identifies the storage of a tensor among living ones; never its address, which is 0 on the meta device."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # a wrapper subclass without a storage of its own
        return id(tensor)


def storage_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the whole storage of a tensor."""
    try:
        return int(tensor.untyped_storage().nbytes())
    except (NotImplementedError, RuntimeError):
        return tensor.numel() * tensor.element_size()


def _flag(prepared: Prepared, parameter: torch.nn.Parameter, value: bool) -> bool:
    if parameter.requires_grad == value or id(parameter) in prepared.flags or id(parameter) in prepared.doomed_ids:
        return False
    prepared.flags[id(parameter)] = (parameter, value)
    return True


def _train(
    prepared: Prepared, moved: set[tuple[int | None, str]], configs: dict[str, Any], actions: list[Noted]
) -> None:
    """What becomes active becomes trainable, since what it replaces was, unless its config is for inference."""
    allowed = {(owner, name) for owner, name in moved if not is_for_inference(configs.get(name))}
    counts: dict[str, int] = {}
    for owner, name in sorted(allowed, key=lambda pair: (pair[1], pair[0] or 0)):
        changed = sum(
            _flag(prepared, parameter, True) for parameter in trainable_parameters(prepared.survey, {(owner, name)})
        )
        counts[name] = counts.get(name, 0) + changed
    actions += [("train", 0, "", f"{count} parameters of {name!r}") for name, count in counts.items() if count]


def _freeze_switched_off(prepared: Prepared, actions: list[Noted], *, is_last: bool) -> None:
    """Older PEFT makes an original module trainable when it switches a wrapper off; that goes with the wrapper."""
    switched_off = [
        holder
        for alike in prepared.survey.alike
        if was_switched_off(alike.first.module, prepared.activity)
        for holder in alike.holders
    ]
    if is_last or not switched_off:
        return
    edited = {
        id(mapping)
        for mappings, key, value in prepared.edits.list
        if key == DISABLED_OF_LAYER and value is False
        for mapping in mappings
    }
    for holder in switched_off:
        module = holder.module
        if id(module) in prepared.leaving or id(vars(module)) in edited:
            changed = [_flag(prepared, parameter, False) for parameter in wrapped_parameters(module)]
            if any(changed):
                detail = "the original module, as it was before PEFT switched it off"
                actions.append(("freeze", holder.row, "", detail))


def _restore(prepared: Prepared, earlier: Earlier, actions: list[Noted], *, is_last: bool) -> None:
    """Puts the base back as the baseline has it: flags, hooks, and with the last adapter the config."""
    survey, edits = prepared.survey, prepared.edits
    count = 0
    for parameter in survey.parameters:
        wanted = earlier.flags.get(id(parameter))
        if wanted is not None:
            count += _flag(prepared, parameter, wanted)
    if count:
        actions.append(("restore", 0, "", f"requires_grad of {count} parameters, as in the baseline"))
    surplus = sweep_input_gradients(survey, earlier, edits, is_last=is_last)
    actions += [("detach", holder.row, "", f"hook {hook}, as in the baseline") for holder, hook in surplus]
    if earlier.settings and is_last:
        fields = config_values(survey.model)
        for name, value in earlier.settings.items():
            edits.set(fields, name, value)
        said = ", ".join(f"{name}={value!r}" for name, value in earlier.settings.items())
        actions.append(("restore", 0, "", f"{said} in the config, as in the baseline"))


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names)) or "none"
