"""Which adapter is active after a deletion, chosen once for the whole model, and what that changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from peftviz.live.peft_facts import (
    ACTIVE_OF_HANDLE,
    ACTIVE_OF_LAYER,
    DECLARED_FROZEN,
    DECLARED_LAYERS,
    DISABLED_OF_LAYER,
    MENTIONED_ADAPTERS,
    OUTER_HANDLES,
    WRAPPED_SLOTS,
    accepts_no_active_adapter,
    handle_kind,
    is_auxiliary_wrapper,
    is_tuner_layer,
)
from peftviz.live.removal.handles import loses_all
from peftviz.live.removal.survey import Holder, Survey, is_dict_like, keys_of, wrapped_module
from peftviz.live.removal.sweep import Edits, as_list

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import torch


@dataclass
class Activity:
    """What is active now and afterwards.

    Attributes:
        before: Active adapters now, as the innermost handle says, unless an outer one alone agrees with the layers; as
            the layers say where there is no handle.
        after: Active adapters afterwards.
        enabled: Whether the tuner layers are enabled, most of them at least; wrappers that alone are disabled were
            switched off by PEFT because the active adapter has no copy there.
        followers: Layers inside a wrapper (tokens): they follow it.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    enabled: bool
    followers: dict[int, torch.nn.Module] = field(default_factory=dict)

    @property
    def arrived(self) -> tuple[str, ...]:
        """Adapters that become active."""
        return tuple(name for name in self.after if name not in self.before)


def read_activity(survey: Survey, names: Collection[str], *, majority: bool = False) -> Activity:
    """Chooses the next active adapters: the remaining active ones, else the first left in config order.

    Args:
        survey: What is there.
        names: Adapters that go.
        majority: Where no handle says what is active, and layers disagree, go by most of them instead of by all: they
            are to be brought in line.
    """
    registered = survey.living
    living = set(registered)
    followers = survey.followers
    reported: list[list[str]] = []
    local: dict[str, None] = {}
    votes: Counter[tuple[str, ...]] = Counter()
    disabled: list[bool] = []
    for handle in survey.handles:
        if ACTIVE_OF_HANDLE in vars(handle.module):
            reported.insert(0, as_list(vars(handle.module)[ACTIVE_OF_HANDLE]))
    wrappers = []
    for alike in survey.alike:
        module = alike.first.module
        if is_auxiliary_wrapper(alike.cls):
            wrappers.append(alike)
        elif is_tuner_layer(alike.cls) and handle_kind(module) is None:
            layers = [holder.module for holder in alike.holders if id(holder.module) not in followers]
            if layers:
                local.update(dict.fromkeys(active_of(module)))
                disabled += [bool(vars(module).get(DISABLED_OF_LAYER, False))] * len(layers)
            if majority:  # a layer that holds nothing has no say
                saying = [layer for layer in layers if not living.isdisjoint(available_on(layer))]
                votes.update({tuple(active_of(module)): len(saying)} if saying else {})
    if not disabled:
        for alike in wrappers:
            module = alike.first.module
            disabled += [bool(vars(module).get(DISABLED_OF_LAYER, False))] * len(alike)
            local.update(dict.fromkeys(active_of(module)))
    known = living.union(names)
    agreeing = [noted for noted in reported if set(noted) == set(local)]  # some tuners of older PEFT forget to note it
    stated = (agreeing or reported or [[]])[0]
    if majority and votes:  # as the audit judges it
        most = min(votes.items(), key=lambda vote: (-vote[1], vote[0]))
        local = dict.fromkeys(most[0])
    before = [name for name in stated if name in known] or [name for name in local if name in known]
    after = [name for name in before if name not in names]
    if not after and len(before) > 0:
        after = [name for name in registered if name not in names][:1]
    return Activity(tuple(before), tuple(after), 2 * sum(disabled) <= len(disabled) if disabled else True, followers)


def active_of(module: torch.nn.Module) -> list[str]:
    """Active adapters that a layer or wrapper has noted, its class's default included."""
    value = vars(module).get(ACTIVE_OF_LAYER, getattr(type(module), ACTIVE_OF_LAYER, None))
    return as_list(value)


def available_on(wrapper: torch.nn.Module, left_out: Collection[int] = ()) -> list[str]:
    """Adapters that a wrapper has a copy (or tokens) for, in the order of the copies.

    Args:
        wrapper: The wrapper.
        left_out: `id` of containers that do not count.
    """
    children = vars(wrapper)["_modules"]
    found: dict[str, None] = {}
    for slot, child in children.items():
        if child is None or slot in WRAPPED_SLOTS or id(child) in left_out:
            continue
        if is_dict_like(type(child)):
            found.update(dict.fromkeys(keys_of(child)))
        elif is_tuner_layer(type(child)):
            found.update(dict.fromkeys(available_on(child, left_out)))
    mentioned = vars(wrapper).get(MENTIONED_ADAPTERS)
    if isinstance(mentioned, (set, frozenset)):
        found.update(dict.fromkeys(sorted(mentioned)))
    return list(found)


def switch(
    survey: Survey,
    activity: Activity,
    names: frozenset[str],
    leaving: Collection[int],
    edits: Edits,
    *,
    align: bool = False,
) -> Iterator[tuple[Holder, tuple[str, ...], tuple[str, ...]]]:
    """Notes the edits that make the next adapters active.

    Args:
        survey: The model.
        activity: What is chosen.
        names: Names that go.
        leaving: `id` of wrappers that are taken off; they need no edit.
        edits: Where to note it.
        align: Bring everything in line, what the names did not touch too.

    Yields:
        The layer or wrapper, its active adapters before and after.
    """
    moved = align or set(activity.before) != set(activity.after)
    for holder in _concerned(survey, names, align=align):
        module, cls = holder.module, type(holder.module)
        slots = vars(module)
        if handle_kind(module) is not None:
            if ACTIVE_OF_HANDLE in slots:
                gone = names.union(as_list(slots[ACTIVE_OF_HANDLE])).difference(activity.after) if align else names
                if _switch_handle(module, activity, gone, edits):
                    yield holder, tuple(as_list(slots[ACTIVE_OF_HANDLE])), activity.after
        elif id(module) in leaving or id(module) in activity.followers:
            continue
        elif is_auxiliary_wrapper(cls):
            before = active_of(module)
            stays = [name for name in available_on(module) if name not in names]
            followed = [name for child in _followers(module, activity) for name in active_of(child)]
            if names.isdisjoint([*before, *followed]) and not moved:
                continue
            now = [name for name in activity.after if name in stays][:1]
            runs = [] if _switched_off(module, activity) else before
            if (
                runs == now
                and names.isdisjoint([*before, *followed])
                and not (align and _strayed(module, now, activity))
            ):
                continue
            _switch_wrapper(module, now, stays, activity, edits)
            yield holder, tuple(followed or runs), tuple(now)
        elif is_tuner_layer(cls):
            before = active_of(module)
            now = [name for name in before if name not in names] or list(activity.after)
            if align:
                _enable_like_the_others(slots, activity, edits)
                held = set(available_on(module)).difference(names)
                if held.intersection(before) != held.intersection(activity.after):
                    now = list(activity.after)
            elif names.isdisjoint(before):
                continue
            if now != before:
                edits.set(slots, ACTIVE_OF_LAYER, _like(slots.get(ACTIVE_OF_LAYER), now))
                yield holder, tuple(before), tuple(now)


def _concerned(survey: Survey, names: frozenset[str], *, align: bool) -> list[Holder]:
    """PEFT's modules in preorder, without the layers that stay as they are: none of the names is active there."""
    found: list[Holder] = []
    for alike in survey.alike:
        module = alike.first.module
        is_layer = is_tuner_layer(alike.cls) and not is_auxiliary_wrapper(alike.cls) and handle_kind(module) is None
        if align or not is_layer or not names.isdisjoint(active_of(module)):
            found += alike.holders
    return sorted(found, key=attrgetter("row"))


def _followers(wrapper: torch.nn.Module, activity: Activity) -> list[torch.nn.Module]:
    return [module for module in vars(wrapper)["_modules"].values() if id(module) in activity.followers]


def _strayed(wrapper: torch.nn.Module, now: list[str], activity: Activity) -> bool:
    """Whether a layer inside runs something else than its wrapper is to run: that layer decides."""
    off = bool(vars(wrapper).get(DISABLED_OF_LAYER))
    return any(
        active_of(layer) != now or bool(vars(layer).get(DISABLED_OF_LAYER)) != off
        for layer in _followers(wrapper, activity)
        if now or not vars(layer).get(DISABLED_OF_LAYER)  # switched off, it runs nothing, whatever it notes
    )


def _switched_off(wrapper: torch.nn.Module, activity: Activity) -> bool:
    return activity.enabled and bool(vars(wrapper).get(DISABLED_OF_LAYER))


def _enable_like_the_others(slots: dict[str, Any], activity: Activity, edits: Edits) -> None:
    if DISABLED_OF_LAYER in slots and bool(slots[DISABLED_OF_LAYER]) == activity.enabled:
        edits.set(slots, DISABLED_OF_LAYER, not activity.enabled)


def _switch_handle(handle: torch.nn.Module, activity: Activity, names: frozenset[str], edits: Edits) -> bool:
    slots = vars(handle)
    value = slots[ACTIVE_OF_HANDLE]
    noted = as_list(value)
    after = () if loses_all(handle, names) else activity.after
    if names.isdisjoint(noted) and (after or not noted):
        return False
    now = [name for name in noted if name not in names] if after else []
    now = now or list(after)
    # A tuner that was just made has a list, and a string after set_adapter: what it falls back to was never set.
    return edits.set(slots, ACTIVE_OF_HANDLE, now if handle_kind(handle) == "tuner" else _like(value, now))


def _switch_wrapper(
    wrapper: torch.nn.Module, now: list[str], stays: list[str], activity: Activity, edits: Edits
) -> None:
    """A wrapper that has no copy for any active adapter lets its module through."""
    slots = vars(wrapper)
    followers = _followers(wrapper, activity)
    if now or accepts_no_active_adapter(type(wrapper)):
        edits.set(slots, ACTIVE_OF_LAYER, now[0] if now else [])
        if _switched_off(wrapper, activity):
            for module in (wrapper, *followers):
                edits.set(vars(module), DISABLED_OF_LAYER, False)
    else:  # older wrappers index their copies with the active name, and pass through only when disabled
        edits.set(slots, ACTIVE_OF_LAYER, stays[0] if stays else [])
        for module in (wrapper, *followers):
            edits.set(vars(module), DISABLED_OF_LAYER, True)
    for module in followers:
        noted = as_list(vars(module).get(ACTIVE_OF_LAYER))
        follow = now or ([] if accepts_no_active_adapter(type(wrapper)) else stays[:1])
        if noted != follow:
            edits.set(vars(module), ACTIVE_OF_LAYER, list(follow))


def _like(value: Any, names: list[str]) -> str | list[str]:
    """The names in the shape the attribute had: a string stays one while there is exactly one name."""
    return names[0] if isinstance(value, str) and len(names) >= 1 else list(names)


def trainable_parameters(survey: Survey, wanted: Collection[tuple[int | None, str]]) -> Iterator[torch.nn.Parameter]:
    """Parameters that PEFT trains of an adapter when it is active.

    Args:
        survey: The model.
        wanted: Pairs of a holder's `id` (None for all) and an adapter.
    """
    everywhere = {name for owner, name in wanted if owner is None}
    for container in survey.containers:
        owner = container.owner.module
        if handle_kind(owner) in OUTER_HANDLES:
            continue  # what lives on the handle itself, prompts, keeps its flags whatever is active
        names = everywhere | {name for key, name in wanted if key == id(owner)}
        slots = vars(owner)
        declared = slots.get(DECLARED_LAYERS, getattr(type(owner), DECLARED_LAYERS, None))
        if declared is not None and container.name not in declared and not is_auxiliary_wrapper(type(owner)):
            continue
        frozen = slots.get(DECLARED_FROZEN) or {}
        for name in names:
            if name in container.keys and container.name not in frozen.get(name, ()):
                yield from parameters_under(container.module, name)


def parameters_under(container: torch.nn.Module, name: str) -> Iterator[torch.nn.Parameter]:
    """Floating-point parameters that a container holds under a name."""
    slots = vars(container)
    module = slots["_modules"].get(name)
    candidates = list(module.parameters()) if module is not None else [slots["_parameters"].get(name)]
    for parameter in candidates:
        if parameter is not None and (parameter.is_floating_point() or parameter.is_complex()):
            yield parameter


def wrapped_parameters(wrapper: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Parameters of the module that a wrapper wraps."""
    module = wrapped_module(wrapper)
    return list(module.parameters()) if module is not None else []


def was_switched_off(wrapper: torch.nn.Module, activity: Activity) -> bool:
    """Whether PEFT switched a wrapper off, and its original module to trainable, for want of a copy."""
    return is_auxiliary_wrapper(type(wrapper)) and _switched_off(wrapper, activity)
