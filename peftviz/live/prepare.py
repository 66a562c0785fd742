"""Turns a deletion into a list of edits and a plan a person can read; nothing is touched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from peftviz.core.plan import Action, DeletionPlan
from peftviz.live.activity import (
    Activity,
    read_activity,
    switch,
    trainable_parameters,
    was_switched_off,
    wrapped_parameters,
)
from peftviz.live.handles import FORWARDED, base_of, outer_handles, without_adapter
from peftviz.live.limits import limits_of
from peftviz.live.peft_facts import (
    ACTIVE_OF_HANDLE,
    DISABLED_OF_LAYER,
    MERGED_OF_LAYER,
    MIXIN_LOADED,
    MODULE_NAMES_OF_HANDLE,
    handle_kind,
    is_auxiliary_wrapper,
    is_peft_class,
)
from peftviz.live.survey import Survey, chain_path, is_wrapper, keys_of
from peftviz.live.sweep import Edits, as_list, sweep_containers, sweep_hooks, sweep_state
from peftviz.live.unwrap import correct_declarations, correct_targets, empty_wrappers, plan_unwrapping

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


@dataclass
class Prepared:
    """A plan with the live objects that carrying it out needs; it is dropped before the freed memory is measured."""

    survey: Survey
    plan: DeletionPlan
    edits: Edits
    activity: Activity
    merged: list[torch.nn.Module] = field(default_factory=list)
    doomed: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    flags: dict[int, tuple[torch.nn.Parameter, bool]] = field(default_factory=dict)
    leaving: dict[int, torch.nn.Module] = field(default_factory=dict)
    unwrapped: tuple[str, ...] = ()
    model_after: torch.nn.Module | None = None


def prepare(
    survey: Survey,
    adapter: str,
    names: Collection[str],
    *,
    unwrap: bool,
    restored: dict[int, bool] | None = None,
    mend: bool = False,
) -> Prepared:
    """Works out everything a deletion does.

    Args:
        survey: The model.
        adapter: The adapter to delete, for the plan's text.
        names: Every name that goes.
        unwrap: Whether to take off wrappers that nobody needs any more.
        restored: `requires_grad` of base parameters by `id`, from a baseline; applied when the last adapter goes.
        mend: Bring everything in line, not only what the names touch: empty wrappers, active adapters, flags.
    """
    wanted = frozenset(names)
    known = set(survey.names) | wanted
    configs = survey.configs
    remaining = [name for name in survey.living if name not in wanted]
    is_last = not remaining
    activity = read_activity(survey, wanted)
    edits = Edits()
    actions: list[Action] = []
    prepared = Prepared(survey, None, edits, activity)  # type: ignore[arg-type]

    prepared.merged = [holder.module for holder in survey.holders if not wanted.isdisjoint(_merged(holder.module))]
    actions += [
        Action("unmerge", holder.path, "taken out of the base weights")
        for holder in survey.holders
        if not wanted.isdisjoint(_merged(holder.module))
    ]
    prepared.doomed = list(_doomed(survey, wanted))
    trainable = any(tensor.requires_grad for _, tensor in prepared.doomed)
    if mend:  # a copy that comes back trains when the rest of its adapter does
        active = {(None, name) for name in activity.after}
        trainable = any(parameter.requires_grad for parameter in trainable_parameters(survey, active))
    if unwrap:
        prepared.leaving = empty_wrappers(survey, wanted, known, only_touched=not (is_last or mend))

    actions += [Action("remove", path, f"entry {name!r}") for path, name, _ in sweep_containers(survey, wanted, edits)]
    replacement = activity.after[0] if activity.after else None
    for holder in survey.holders:
        if id(holder.module) in prepared.leaving:
            continue
        touched = sweep_state(holder, wanted, known, replacement, edits)
        if touched:
            actions.append(Action("forget", holder.path, f"mentioned in {', '.join(touched)}"))
            correct_declarations(holder.module, wanted, edits)
    actions += [Action("detach", path, f"hook {hook}") for path, hook in sweep_hooks(survey, wanted, edits)]

    moved: set[tuple[int | None, str]] = {(None, name) for name in activity.arrived}
    for holder, before, after in switch(survey, activity, wanted, prepared.leaving.keys(), edits, align=mend):
        actions.append(
            Action("activate" if after else "deactivate", holder.path, f"{_words(before)} -> {_words(after)}")
        )
        if is_auxiliary_wrapper(type(holder.module)):
            moved.update((id(holder.module), name) for name in after if name not in before)
    if trainable:
        _train(prepared, moved, configs, actions)
    _freeze_switched_off(prepared, actions, is_last=is_last)

    done = plan_unwrapping(survey, prepared.leaving, edits)
    prepared.unwrapped = tuple(path for path, _ in done)
    actions += [Action("unwrap", path, f"{cls} comes off") for path, cls in done]
    if wanted or prepared.unwrapped:
        correct_targets(survey, prepared.unwrapped, edits)
    _forget_configs(prepared, wanted, is_last=is_last, unwrap=unwrap, actions=actions)
    if restored and (is_last or mend):
        _restore(prepared, restored, actions)
    actions += [
        Action("merge", chain_path_of(survey, module), f"{_words(tuple(others))} merged again")
        for module in prepared.merged
        if (others := [name for name in _merged(module) if name not in wanted])
    ]
    count, nbytes = _size(survey, prepared.doomed)
    prepared.plan = DeletionPlan(
        adapter=adapter,
        handle=survey.kind or "plain",
        actions=tuple(actions),
        names=tuple(dict.fromkeys((adapter, *sorted(wanted)))) if adapter else tuple(sorted(wanted)),
        active_before=activity.before,
        next_active=activity.after,
        remaining=tuple(remaining),
        tensors=count,
        nbytes=nbytes,
        is_last=is_last,
        unwrap=unwrap,
        warnings=limits_of(survey, wanted, is_last=is_last, baseline=restored is not None),
    )
    prepared.model_after = base_of(survey.model) if is_last and unwrap else survey.model
    return prepared


def _merged(module: torch.nn.Module) -> list[str]:
    return as_list(vars(module).get(MERGED_OF_LAYER)) if is_peft_class(type(module)) else []


def chain_path_of(survey: Survey, module: torch.nn.Module) -> str:
    """Path of one of PEFT's modules."""
    return next((holder.path for holder in survey.holders if holder.module is module), "")


def _doomed(survey: Survey, names: frozenset[str]) -> Iterator[tuple[str, torch.Tensor]]:
    seen: set[int] = set()
    for container in survey.containers:
        slots = vars(container.module)
        for name in names.intersection(keys_of(container.module)):
            module = slots["_modules"].get(name)
            if module is not None:
                tensors = list(_tensors_of(module))
            else:
                own = slots["_parameters"].get(name, slots["_buffers"].get(name))
                tensors = [("", own)] if isinstance(own, torch.Tensor) else []
            for inner, tensor in tensors:
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield ".".join(part for part in (container.path, name, inner) if part), tensor


def _tensors_of(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    slots = vars(module)
    if slots["_modules"]:
        yield from module.named_parameters()
        yield from module.named_buffers()
        return
    for kind in ("_parameters", "_buffers"):
        yield from ((name, tensor) for name, tensor in slots[kind].items() if tensor is not None)


def _size(survey: Survey, doomed: list[tuple[str, torch.Tensor]]) -> tuple[int, int]:
    """Number of doomed tensors, and bytes of the storages that nothing else in the model uses."""
    ids = {id(tensor) for _, tensor in doomed}
    kept = {storage_key(parameter) for parameter in survey.parameters if id(parameter) not in ids}
    storages = {storage_key(tensor): storage_bytes(tensor) for _, tensor in doomed}
    return len(doomed), sum(nbytes for key, nbytes in storages.items() if key not in kept)


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
    if parameter.requires_grad == value or id(parameter) in prepared.flags:
        return False
    if any(parameter is tensor for _, tensor in prepared.doomed) if len(prepared.doomed) < 64 else False:
        return False
    prepared.flags[id(parameter)] = (parameter, value)
    return True


def _train(
    prepared: Prepared, moved: set[tuple[int | None, str]], configs: dict[str, Any], actions: list[Action]
) -> None:
    """What becomes active becomes trainable, since what it replaces was, unless its config is for inference."""
    allowed = {(owner, name) for owner, name in moved if not getattr(configs.get(name), "inference_mode", False)}
    counts: dict[str, int] = {}
    for owner, name in sorted(allowed, key=lambda pair: (pair[1], pair[0] or 0)):
        changed = sum(
            _flag(prepared, parameter, True) for parameter in trainable_parameters(prepared.survey, {(owner, name)})
        )
        counts[name] = counts.get(name, 0) + changed
    actions += [Action("train", "", f"{count} parameters of {name!r}") for name, count in counts.items() if count]


def _freeze_switched_off(prepared: Prepared, actions: list[Action], *, is_last: bool) -> None:
    """Older PEFT makes an original module trainable when it switches a wrapper off; that goes with the wrapper."""
    if is_last:
        return
    edited = {
        id(mapping) for _, mapping, key, value in prepared.edits.list if key == DISABLED_OF_LAYER and value is False
    }
    for holder in prepared.survey.holders:
        module = holder.module
        if not was_switched_off(module, prepared.activity):
            continue
        if id(module) in prepared.leaving or id(vars(module)) in edited:
            changed = [_flag(prepared, parameter, False) for parameter in wrapped_parameters(module)]
            if any(changed):
                detail = "the original module, as it was before PEFT switched it off"
                actions.append(Action("freeze", holder.path, detail))


def _restore(prepared: Prepared, restored: dict[int, bool], actions: list[Action]) -> None:
    count = 0
    for parameter in prepared.survey.parameters:
        wanted = restored.get(id(parameter))
        if wanted is not None:
            count += _flag(prepared, parameter, wanted)
    if count:
        actions.append(Action("restore", "", f"requires_grad of {count} parameters, as in the baseline"))


def _forget_configs(
    prepared: Prepared, names: frozenset[str], *, is_last: bool, unwrap: bool, actions: list[Action]
) -> None:
    survey, edits = prepared.survey, prepared.edits
    gone_modules: set[str] = set()
    for path, registry in survey.registries:
        for name in registry:
            if name in names:
                gone_modules.update(getattr(registry[name], "modules_to_save", None) or ())
                edits.delete(registry, name)
                actions.append(Action("forget", path, f"config of {name!r}"))
    kept_modules = {
        module
        for name, config in survey.configs.items()
        if name not in names
        for module in getattr(config, "modules_to_save", None) or ()
    }
    gone = gone_modules - kept_modules
    owners = [holder.module for holder in survey.holders if not is_wrapper(type(holder.module))]
    for owner in dict.fromkeys([*owners, *(owner for owner, _, _ in survey.registry_owners)]):
        listed = vars(owner).get(MODULE_NAMES_OF_HANDLE)
        if not isinstance(listed, set) or not (is_last or listed & gone):
            continue
        if (is_last or listed <= gone) and not is_peft_class(type(owner)):
            edits.delete(vars(owner), MODULE_NAMES_OF_HANDLE)  # a base model had no such attribute
        else:
            edits.set(vars(owner), MODULE_NAMES_OF_HANDLE, None if is_last else (listed - gone) or None)
    if not is_last:
        return
    for owner, attribute, chain in survey.registry_owners:
        if not is_peft_class(type(owner)) and unwrap:
            edits.delete(vars(owner), attribute)
            actions.append(Action("forget", chain_path(chain), f"attribute {attribute}"))
    for owner, _, chain in survey.registry_owners:
        if MIXIN_LOADED in vars(owner) and not is_peft_class(type(owner)):
            if getattr(type(owner), MIXIN_LOADED, None) is False:
                edits.delete(vars(owner), MIXIN_LOADED)
            else:
                edits.set(vars(owner), MIXIN_LOADED, False)
            actions.append(Action("forget", chain_path(chain), f"attribute {MIXIN_LOADED}"))
    for handle in outer_handles(survey):
        if handle_kind(base_of(handle)) is None and ACTIVE_OF_HANDLE in vars(handle):
            for method in FORWARDED:
                if callable(getattr(type(handle), method, None)):
                    edits.set(vars(handle), method, without_adapter(method, handle))


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names)) or "none"
