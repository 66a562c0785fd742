"""Works out what an operation on adapters will do, and refuses what would go wrong; nothing is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from peftviz.core.operation_plan import OperationPlan
from peftviz.core.plan import Actions, Noted
from peftviz.errors import AdapterError, near_matches
from peftviz.live.peft_facts import DISABLED_OF_LAYER, MERGED_OF_LAYER, is_auxiliary_wrapper, is_tuner_layer
from peftviz.live.removal.activity import (
    Activity,
    active_of,
    available_on,
    parameters_under,
    read_activity,
    trainable_parameters,
)
from peftviz.live.removal.survey import Holder, Survey, wrapped_module
from peftviz.live.removal.sweep import as_list
from peftviz.live.snapshots.capture import check_model

if TYPE_CHECKING:
    import torch


@dataclass
class PreparedOperation:
    """A plan with the live objects that carrying it out needs.

    Attributes:
        survey: The model.
        activity: What is active now.
        plan: What will be done.
        layers: Layers that are merged or unmerged.
        rewritten: Base tensors whose values change on purpose.
    """

    survey: Survey
    activity: Activity
    plan: OperationPlan
    layers: list[Holder] = field(default_factory=list)
    rewritten: list[torch.Tensor] = field(default_factory=list)


def prepare_operation(
    model: torch.nn.Module, operation: str, adapters: str | Sequence[str] | None
) -> PreparedOperation:
    """Looks at the model and works out the plan; see `peftviz.live.activation.switching.plan_operation`.

    Raises:
        ModelError: It is no model.
        AdapterError: There is no such operation, no adapter at all, or not the one named.
    """
    check_model(model)
    prepare = _PREPARE.get(operation)
    if prepare is None:
        raise AdapterError(
            f"There is no operation {operation!r}.",
            where="plan of an operation",
            hint=near_matches(operation, _PREPARE),
        )
    survey = Survey(model)
    if survey.kind is None or not survey.living:
        raise AdapterError(
            f"This {type(model).__name__} has no adapters.",
            where=operation,
            hint="Pass the PeftModel, or the model into which the adapters were injected.",
        )
    names = (adapters,) if isinstance(adapters, str) else None if adapters is None else tuple(dict.fromkeys(adapters))
    for name in names or ():
        if name not in survey.living:
            raise AdapterError(
                f"There is no adapter {name!r} in this model.",
                where=f"{survey.kind} model {type(model).__name__}",
                hint=near_matches(str(name), survey.living),
            )
    return prepare(survey, read_activity(survey, ()), names)


def _prepare_set(survey: Survey, activity: Activity, names: tuple[str, ...] | None) -> PreparedOperation:
    if not names:
        raise AdapterError("No adapter was named.", where="set_adapter", hint=near_matches("", survey.living))
    if survey.kind == "PeftModel" and len(names) > 1:
        raise AdapterError(
            "A PeftModel has one active adapter at a time.",
            where=f"set_adapter({list(names)!r})",
            hint="Name one of them; PeftMixedModel and models with injected adapters take several.",
        )
    _refuse_merged(survey, "set_adapter")
    actions: list[Noted] = []
    if set(activity.before) != set(names):
        actions.append(("activate", 0, "", f"{words(activity.before)} -> {words(names)}"))
    for holder in (*tuner_layers(survey), *_wrappers(survey)):
        held = available_on(holder.module)
        old = [name for name in active_of(holder.module) if name in held]
        new = [name for name in names if name in held]
        if set(old) != set(new):
            actions.append(("switch", holder.row, "", f"{words(old)} -> {words(new)}"))
    if activity.enabled:
        actions += [
            ("enable", holder.row, "", "PEFT had switched it off for want of a copy")
            for holder in _wrappers(survey)
            if set(names) & set(available_on(holder.module)) and vars(holder.module).get(DISABLED_OF_LAYER)
        ]
    actions += _flag_actions(survey, names)
    warnings = (
        () if activity.enabled else ("The adapters are disabled and stay so; enable_adapters() switches them on.",)
    )
    plan = _plan(survey, "set_adapter", names, actions, warnings=warnings)
    return PreparedOperation(survey, activity, plan)


def _prepare_enable(survey: Survey, activity: Activity, names: tuple[str, ...] | None) -> PreparedOperation:
    return _prepare_switch(survey, activity, enabled=True)


def _prepare_disable(survey: Survey, activity: Activity, names: tuple[str, ...] | None) -> PreparedOperation:
    _refuse_merged(survey, "disable_adapters")
    return _prepare_switch(survey, activity, enabled=False)


def _prepare_switch(survey: Survey, activity: Activity, *, enabled: bool) -> PreparedOperation:
    operation = "enable_adapters" if enabled else "disable_adapters"
    if not tuner_layers(survey):
        raise AdapterError(
            "The adapters of this model have no layers that can be switched on and off.",
            where=f"{survey.kind} model {type(survey.model).__name__}, {operation}",
            hint="For prompt learning, use PEFT's context manager: with model.disable_adapter(): ...",
        )
    actions: list[Noted] = []
    for holder in (*tuner_layers(survey), *switchable(survey)):
        if bool(vars(holder.module).get(DISABLED_OF_LAYER)) == enabled:
            active = words([name for name in active_of(holder.module) if name in available_on(holder.module)])
            actions.append(("enable" if enabled else "disable", holder.row, "", active))
    actions += _flag_actions(survey, activity.before if enabled else ())
    plan = _plan(survey, operation, activity.before, actions)
    return PreparedOperation(survey, activity, plan)


def _prepare_merge(survey: Survey, activity: Activity, names: tuple[str, ...] | None) -> PreparedOperation:
    names = activity.before if names is None else names
    if not activity.enabled:
        raise AdapterError(
            "The adapters are disabled: the next forward pass would take a merged one out again.",
            where="merge_adapter",
            hint="Call enable_adapters() first.",
        )
    layers = [
        holder
        for holder in tuner_layers(survey)
        if id(holder.module) not in activity.followers
        and set(names) & set(available_on(holder.module)) - set(merged_of(holder))
    ]
    if not layers:
        merged = sorted({name for holder in tuner_layers(survey) for name in merged_of(holder)} & set(names))
        raise AdapterError(
            f"{words(merged)} is merged already." if merged else f"{words(names)} has no layer that could be merged.",
            where="merge_adapter",
            hint="unmerge_adapter() takes it out again." if merged else "Only layers that wrap a module can be merged.",
        )
    rewritten = _base_tensors(layers)
    _refuse_tied(survey, layers)
    actions: list[Noted] = []
    for holder in layers:
        new = [name for name in names if name in available_on(holder.module) and name not in merged_of(holder)]
        actions.append(("merge", holder.row, "", words(new)))
    warnings = [f"The base weights change, in {_dtypes(rewritten)}: unmerging later leaves a rounding error in them."]
    silent = [name for name in activity.before if name not in names]
    if silent:
        warnings.append(f"{words(silent)}, active too, is not applied where something else is merged.")
    loud = [name for name in names if name not in activity.before]
    if loud:
        warnings.append(f"{words(loud)} is not active, but a merged adapter takes part in each forward pass.")
    plan = _plan(survey, "merge_adapter", names, actions, nbytes=_size(rewritten), warnings=tuple(warnings))
    return PreparedOperation(survey, activity, plan, layers, rewritten)


def _prepare_unmerge(survey: Survey, activity: Activity, names: tuple[str, ...] | None) -> PreparedOperation:
    layers = [holder for holder in tuner_layers(survey) if merged_of(holder)]
    if not layers:
        raise AdapterError("No adapter is merged.", where="unmerge_adapter", hint="merge_adapter() merges one.")
    merged = tuple(dict.fromkeys(name for holder in layers for name in merged_of(holder)))
    lost = [name for name in merged if name not in survey.names]
    if lost:
        raise AdapterError(
            f"{words(lost)} was deleted while merged and cannot be taken out of the base weights any more.",
            where="unmerge_adapter",
            hint="Load the base weights again.",
        )
    rewritten = _base_tensors(layers)
    actions: list[Noted] = [("unmerge", holder.row, "", words(merged_of(holder))) for holder in layers]
    warning = f"The weights will differ from those before merging by the rounding of {_dtypes(rewritten)}."
    plan = _plan(survey, "unmerge_adapter", merged, actions, nbytes=_size(rewritten), warnings=(warning,))
    return PreparedOperation(survey, activity, plan, layers, rewritten)


_PREPARE: dict[str, Callable[[Survey, Activity, tuple[str, ...] | None], PreparedOperation]] = {
    "set_adapter": _prepare_set,
    "enable_adapters": _prepare_enable,
    "disable_adapters": _prepare_disable,
    "merge_adapter": _prepare_merge,
    "unmerge_adapter": _prepare_unmerge,
}


def _plan(
    survey: Survey,
    operation: str,
    names: tuple[str, ...],
    actions: list[Noted],
    *,
    nbytes: int = 0,
    warnings: tuple[str, ...] = (),
) -> OperationPlan:
    handle = survey.kind or ""
    return OperationPlan(operation, names, handle, Actions(actions, survey.tree.paths), nbytes, warnings)


def tuner_layers(survey: Survey) -> list[Holder]:
    """The layers of tuners, those that follow a wrapper included."""
    return [holder for holder in survey.holders if is_tuner_layer(type(holder.module))]


def _wrappers(survey: Survey) -> list[Holder]:
    return [holder for holder in survey.holders if is_auxiliary_wrapper(type(holder.module))]


def switchable(survey: Survey) -> Iterator[Holder]:
    """Wrappers that have a copy for what is active in them; others let their module through in any case."""
    for holder in _wrappers(survey):
        if set(active_of(holder.module)) & set(available_on(holder.module)):
            yield holder


def merged_of(holder: Holder) -> list[str]:
    """Adapters that are merged into the base weights of a layer."""
    return as_list(vars(holder.module).get(MERGED_OF_LAYER))


def _flag_actions(survey: Survey, active: Sequence[str]) -> Iterator[Noted]:
    trains = {id(item): item for item in trainable_parameters(survey, {(None, name) for name in active})}
    woken = sum(not parameter.requires_grad for parameter in trains.values())
    if woken:
        yield "train", 0, "", f"{woken:,} parameters of {words(active)}"
    resting = [name for name in survey.names if name not in active]
    asleep = {
        id(parameter)
        for container in survey.containers
        for name in resting
        if name in container.keys
        for parameter in parameters_under(container.module, name)
        if parameter.requires_grad
    }
    if asleep:
        yield "freeze", 0, "", f"{len(asleep):,} parameters of {words(resting)}"


def _base_tensors(layers: Sequence[Holder]) -> list[torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    for holder in layers:
        base = wrapped_module(holder.module)
        if base is not None:
            found.update((id(tensor), tensor) for tensor in (*base.parameters(), *base.buffers()))
    return list(found.values())


def _size(tensors: Sequence[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _dtypes(tensors: Sequence[torch.Tensor]) -> str:
    return ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors})) or "no dtype"


def _refuse_merged(survey: Survey, operation: str) -> None:
    merged = [(holder, noted) for holder in tuner_layers(survey) if (noted := merged_of(holder))]
    if merged:
        holder, noted = merged[0]
        raise AdapterError(
            f"{words(noted)} is merged into the base weights of {len(merged)} modules.",
            where=f"{holder.path}, {operation}",
            hint="Call unmerge_adapter() first.",
        )


def _refuse_tied(survey: Survey, layers: Sequence[Holder]) -> None:
    """A base weight that another module uses too would change there as well."""
    inside = {id(inner) for holder in layers if (base := wrapped_module(holder.module)) for inner in base.modules()}
    ours = {id(tensor) for tensor in _base_tensors(layers)}
    for path, module in survey.model.named_modules():
        if id(module) in inside:
            continue
        for name, parameter in vars(module)["_parameters"].items():
            if parameter is not None and id(parameter) in ours:
                raise AdapterError(
                    "A weight that would be merged into is tied to another module, which would change too.",
                    where=f"{path}.{name}" if path else name,
                    hint="Merge only adapters that leave tied weights alone, or untie them first.",
                )


def words(names: Sequence[str]) -> str:
    """The names as a reader sees them, `"none"` when there are none."""
    return ", ".join(map(repr, names)) or "none"
