"""Checks that an operation on adapters led where its plan promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftviz.errors import VerificationError
from peftviz.live.activation.switch_plan import PreparedOperation, merged_of, tuner_layers, words
from peftviz.live.peft_facts import ACTIVE_OF_HANDLE, DISABLED_OF_LAYER, handle_kind
from peftviz.live.removal.activity import active_of, available_on
from peftviz.live.removal.survey import Holder
from peftviz.live.removal.sweep import as_list

if TYPE_CHECKING:
    import torch

    from peftviz.core.operation_plan import OperationPlan


@dataclass(frozen=True)
class Constants:
    """What must be the same afterwards.

    Attributes:
        modules: The modules of the model in order, by `id`.
        tensors: Base tensors that may not change, with their write counters.
        flags: Base parameters and their `requires_grad`.
    """

    modules: list[int]
    tensors: list[tuple[torch.Tensor, int]]
    flags: list[tuple[torch.nn.Parameter, bool]]


def note_constants(prepared: PreparedOperation) -> Constants:
    """Notes what may not change, before the first mutation."""
    survey = prepared.survey
    model = survey.model
    adapters = {id(parameter) for container in survey.containers for parameter in container.module.parameters()}
    may_change = {id(tensor) for tensor in prepared.rewritten}
    base = [parameter for parameter in survey.parameters if id(parameter) not in adapters]
    kept = [
        tensor for tensor in (*base, *model.buffers()) if id(tensor) not in may_change and not tensor.is_inference()
    ]
    return Constants(
        modules=[id(module) for module in model.modules()],
        tensors=[(tensor, tensor._version) for tensor in kept],
        flags=[(parameter, parameter.requires_grad) for parameter in base],
    )


def keep_base_flags(noted: Constants) -> None:
    """Sets `requires_grad` of base parameters as it was: some versions of PEFT change it when they switch wrappers."""
    for parameter, flag in noted.flags:
        if parameter.requires_grad != flag and parameter.is_leaf:
            parameter.requires_grad = flag


def verify_operation(prepared: PreparedOperation, noted: Constants) -> None:
    """Compares the model with the plan.

    Raises:
        VerificationError: Something is not as promised.
    """
    survey, plan = prepared.survey, prepared.plan
    if [id(module) for module in survey.model.modules()] != noted.modules:
        raise _unexpected(plan, "The operation changed which modules the model has.", type(survey.model).__name__)
    for tensor, version in noted.tensors:
        if tensor._version != version:
            raise _unexpected(plan, "A base weight changed that was not to change.", f"of shape {tuple(tensor.shape)}")
    for holder in tuner_layers(survey):
        problem = _problem(prepared, holder)
        if problem:
            raise _unexpected(plan, problem, holder.path)
    for holder in survey.holders:
        if handle_kind(holder.module) is not None and plan.operation == "set_adapter":
            active = as_list(vars(holder.module).get(ACTIVE_OF_HANDLE))
            if active and set(active) != set(plan.adapters):
                raise _unexpected(plan, f"The handle says that {words(active)} is active.", holder.path)


def _problem(prepared: PreparedOperation, holder: Holder) -> str:
    """What is not as planned about a layer, or `""`."""
    operation, names = prepared.plan.operation, set(prepared.plan.adapters)
    held = set(available_on(holder.module))
    if operation == "set_adapter":
        active = set(active_of(holder.module)) & held
        if active != names & held:
            return f"{words(sorted(active))} is active in a layer."
    elif operation in ("enable_adapters", "disable_adapters"):
        disabled = bool(vars(holder.module).get(DISABLED_OF_LAYER))
        if disabled == (operation == "enable_adapters"):
            return "A layer was not switched."
    elif holder in prepared.layers:
        merged = set(merged_of(holder))
        if operation == "merge_adapter" and not names & held <= merged:
            return f"{words(sorted(names & held - merged))} was not merged into a layer."
        if operation == "unmerge_adapter" and merged:
            return f"{words(sorted(merged))} is still merged into a layer."
    return ""


def _unexpected(plan: OperationPlan, what: str, where: str) -> VerificationError:
    return VerificationError(
        what,
        where=f"{where or 'the model'}, after {plan.operation}",
        hint="The model was put back as it was. Please report this with the PEFT version and method.",
    )
