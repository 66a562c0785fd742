"""Switches, enables, disables, merges and unmerges adapters by PEFT's own operations: look, plan, act, check.

What PEFT does in several places one after the other happens here as a whole or not at all, and base parameters keep
their `requires_grad`, which some versions of PEFT change on the way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftviz.core.operation_plan import OperationPlan
from peftviz.core.plan import Freed
from peftviz.live.activation.guard import Guard
from peftviz.live.activation.switch_check import keep_base_flags, note_constants, verify_operation
from peftviz.live.activation.switch_plan import PreparedOperation, prepare_operation, switchable, tuner_layers
from peftviz.live.peft_facts import DISABLED_OF_LAYER, handle_kind, set_auxiliary_adapter
from peftviz.live.removal.activity import read_activity
from peftviz.live.removal.deletion import Report
from peftviz.live.removal.survey import Holder, Survey
from peftviz.live.snapshots.capture import capture

if TYPE_CHECKING:
    import torch

    from peftviz.core.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class OperationReport(Report):
    """What an operation on adapters did.

    Attributes:
        plan: The plan that was carried out.
    """

    plan: OperationPlan

    def lines(self) -> list[str]:
        """The report as lines of plain text."""
        head, *rest = self.plan.lines()
        return [f"Done: {head[0].lower()}{head[1:]}", *rest]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def plan_operation(
    model: torch.nn.Module, operation: str, adapters: str | Sequence[str] | None = None
) -> OperationPlan:
    """Says what an operation would do, and touches nothing.

    Args:
        model: A `PeftModel`, `PeftMixedModel`, tuner, a transformers model with adapters, or one with injected ones.
        operation: `"set_adapter"`, `"enable_adapters"`, `"disable_adapters"`, `"merge_adapter"` or `"unmerge_adapter"`.
        adapters: For `set_adapter` and `merge_adapter`, which ones; None for the active ones when merging.

    Raises:
        ModelError: `model` is no `torch.nn.Module`.
        AdapterError: No such operation or adapter, or the state of the model forbids it.
    """
    return prepare_operation(model, operation, adapters).plan


def set_adapter(
    model: torch.nn.Module, adapter: str | Sequence[str], *, baseline: Snapshot | None = None
) -> OperationReport:
    """Makes an adapter the active one, as PEFT's method does: it becomes trainable, all others are frozen.

    Args:
        model: As for `plan_operation`.
        adapter: Its name; several where PEFT allows it, which a `PeftModel` does not.
        baseline: Snapshot to compare the result with.

    Raises:
        AdapterError: No such adapter, or one is merged.
        VerificationError: The result was not as planned; the model was put back.
    """
    return _run(model, "set_adapter", adapter, baseline)


def enable_adapters(model: torch.nn.Module, *, baseline: Snapshot | None = None) -> OperationReport:
    """Switches the adapters on: the active ones take part in the forward pass again and are trainable.

    Raises:
        AdapterError: The model has no layer that can be switched.
        VerificationError: The result was not as planned; the model was put back.
    """
    return _run(model, "enable_adapters", None, baseline)


def disable_adapters(model: torch.nn.Module, *, baseline: Snapshot | None = None) -> OperationReport:
    """Switches the adapters off: the model computes as its base model does, and all adapters are frozen.

    Raises:
        AdapterError: The model has no layer that can be switched, or an adapter is merged.
        VerificationError: The result was not as planned; the model was put back.
    """
    return _run(model, "disable_adapters", None, baseline)


def merge_adapter(
    model: torch.nn.Module, adapters: str | Sequence[str] | None = None, *, baseline: Snapshot | None = None
) -> OperationReport:
    """Adds the change of adapters to the base weights, which are checked for NaN and infinity before they are replaced.

    Args:
        model: As for `plan_operation`.
        adapters: Which ones; None for the active ones.
        baseline: Snapshot to compare the result with.

    Raises:
        AdapterError: No such adapter, merged already, disabled, or its weights are tied to other modules.
        VerificationError: The result was not as planned; the model was put back.
    """
    return _run(model, "merge_adapter", adapters, baseline)


def unmerge_adapter(model: torch.nn.Module, *, baseline: Snapshot | None = None) -> OperationReport:
    """Subtracts the change of all merged adapters from the base weights; what rounding took does not come back.

    Raises:
        AdapterError: No adapter is merged.
        VerificationError: The result was not as planned; the model was put back.
    """
    return _run(model, "unmerge_adapter", None, baseline)


def _run(
    model: torch.nn.Module, operation: str, adapters: str | Sequence[str] | None, baseline: Snapshot | None
) -> OperationReport:
    prepared = prepare_operation(model, operation, adapters)
    before = capture(model, label=f"before {operation}")
    if prepared.plan.actions:
        _carry_out(prepared)
    return OperationReport(
        plan=prepared.plan,
        model=model,
        freed=Freed(),
        warnings=prepared.plan.warnings,
        before=before,
        after=capture(model, label=f"after {operation}"),
        baseline=baseline,
    )


def _carry_out(prepared: PreparedOperation) -> None:
    """Acts and checks; rolls back on any exception."""
    guard = Guard(prepared.survey, prepared.rewritten)
    noted = note_constants(prepared)
    try:
        _act(prepared)
        keep_base_flags(noted)
        verify_operation(prepared, noted)
    except BaseException:
        guard.restore()
        raise
    guard.forget()


def _act(prepared: PreparedOperation) -> None:
    survey, plan = prepared.survey, prepared.plan
    names = list(plan.adapters)
    if plan.operation == "set_adapter":
        _set(survey, names[0] if len(names) == 1 else names)
    elif plan.operation == "merge_adapter":
        _merge(survey, prepared.layers, names)
    elif plan.operation == "unmerge_adapter":
        _unmerge(survey, prepared.layers)
    else:
        _enable(survey, enabled=plan.operation == "enable_adapters")


def _handle(survey: Survey, *methods: str) -> Any:
    """The outermost of PEFT's handles whose class has one of the methods, as that method bound to it, or None."""
    for holder in survey.holders:
        if handle_kind(holder.module) is not None:
            for method in methods:
                function = getattr(type(holder.module), method, None)
                if callable(function):
                    return function.__get__(holder.module)
    return None


def _method(module: torch.nn.Module, name: str) -> Callable[..., Any]:
    method: Callable[..., Any] = getattr(type(module), name).__get__(module)  # of the class: instances may forward
    return method


def _set(survey: Survey, given: str | list[str]) -> None:
    own = _handle(survey, "set_adapter")
    if own is not None:
        own(given)
    else:  # as a tuner does it: transformers' own method knows no copy that is missing
        set_auxiliary_adapter(survey.model, given)
        followers = survey.followers
        for holder in tuner_layers(survey):
            if id(holder.module) not in followers:
                _method(holder.module, "set_adapter")(given)
    enabled = read_activity(survey, ()).enabled
    for holder in switchable(survey):  # up to PEFT 0.14 one that was switched off stays so
        if enabled and vars(holder.module).get(DISABLED_OF_LAYER):
            _method(holder.module, "enable_adapters")(True)


def _enable(survey: Survey, *, enabled: bool) -> None:
    own = _handle(survey, "enable_adapter_layers" if enabled else "disable_adapter_layers")
    if own is not None:
        own()
    # Transformers forgets the copies of whole modules when it enables; which is why this is done here for both.
    for holder in (*tuner_layers(survey), *switchable(survey)):
        if bool(vars(holder.module).get(DISABLED_OF_LAYER)) == enabled:
            _method(holder.module, "enable_adapters")(enabled)


def _merge(survey: Survey, layers: Sequence[Holder], names: list[str]) -> None:
    own = _handle(survey, "merge_adapter")
    if own is not None and "safe_merge" in inspect.signature(own).parameters:
        own(adapter_names=names, safe_merge=True)
        return
    for holder in layers:
        _method(holder.module, "merge")(safe_merge=True, adapter_names=names)


def _unmerge(survey: Survey, layers: Sequence[Holder]) -> None:
    own = _handle(survey, "unmerge_adapter")
    if own is not None:
        own()
        return
    for holder in layers:
        _method(holder.module, "unmerge")()
