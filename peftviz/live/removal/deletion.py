"""Corrected deletion of an adapter: look, plan, act, check."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from peftviz.core.arguments import check_baseline
from peftviz.core.display import Displayed
from peftviz.errors import AdapterError, near_matches
from peftviz.live.peft_facts import experts_of
from peftviz.live.removal import merging
from peftviz.live.removal.baseline import earlier_of
from peftviz.live.removal.elsewhere import adopt_handles
from peftviz.live.removal.handles import registry_of_handle
from peftviz.live.removal.journal import Journal
from peftviz.live.removal.prepare import Prepared, prepare
from peftviz.live.removal.several import check_one_decision
from peftviz.live.removal.survey import Holder, Survey
from peftviz.live.removal.verify import Watched, note_before, verify
from peftviz.live.snapshots.capture import check_model, paused_garbage_collection, record, snapshot_of

if TYPE_CHECKING:
    import torch

    from peftviz.core.audit import Audit
    from peftviz.core.diff import Diff
    from peftviz.core.plan import DeletionPlan, Freed
    from peftviz.core.snapshot import Snapshot
    from peftviz.live.snapshots.walk import Walk

MERGED = ("refuse", "unmerge")


@dataclass(frozen=True, eq=False)
class Report(Displayed):
    """What an operation of peftviz did to a model.

    Attributes:
        model: What to go on with.
        freed: What became of the removed tensors.
        warnings: What could not be restored.
        before: The model before.
        after: `model` afterwards.
        baseline: Snapshot that the caller compares with, or None.
    """

    model: torch.nn.Module
    freed: Freed
    warnings: tuple[str, ...]
    before: Snapshot = field(repr=False)
    after: Snapshot = field(repr=False)
    baseline: Snapshot | None = field(repr=False)

    @functools.cached_property
    def diff(self) -> Diff:
        """What changed."""
        from peftviz.core.diff import diff

        return diff(self.before, self.after)

    @functools.cached_property
    def audit(self) -> Audit:
        """What is left to be said about the model afterwards."""
        from peftviz.core.audit import audit_snapshot

        return audit_snapshot(self.after, baseline=self.baseline)


@dataclass(frozen=True, eq=False)
class DeletionReport(Report):
    """What `delete_adapter` did.

    Attributes:
        adapter: The adapter that is gone.
        plan: The plan that was carried out.
    """

    adapter: str
    plan: DeletionPlan

    def lines(self) -> list[str]:
        """The report as lines of plain text."""
        left = f"go on with report.model, a {type(self.model).__name__}"
        head = f"Deleted adapter {self.adapter!r}; {left}"
        return [head, *self.freed.lines(), *(f"warning: {warning}" for warning in self.warnings)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def plan_deletion(
    model: torch.nn.Module,
    adapter: str,
    *,
    baseline: Snapshot | None = None,
    unwrap: bool = True,
    merged: str = "refuse",
) -> DeletionPlan:
    """Says what `delete_adapter` would do with the same arguments, and touches nothing.

    Args:
        model: A `PeftModel`, `PeftMixedModel`, tuner, a transformers or diffusers model with adapters, or any module
            with injected adapters.
        adapter: Name of the adapter; one that no config knows but the tree still holds is fine too.
        baseline: A snapshot of the model from before the first adapter.
        unwrap: Take off wrappers that no adapter needs any more.
        merged: `"refuse"` or `"unmerge"`: what to do when the adapter is merged into the base weights.

    Returns:
        The plan.

    Raises:
        ModelError: `model` is no `torch.nn.Module`.
        SnapshotError: `baseline` is no snapshot.
        AdapterError: The model has no adapters, none of that name, or it is merged and `merged="refuse"`; or several
            models in it have adapters, and different ones would have to become active.
    """
    return _prepare(model, adapter, baseline=baseline, unwrap=unwrap, merged=merged).plan


def delete_adapter(
    model: torch.nn.Module,
    adapter: str,
    *,
    baseline: Snapshot | None = None,
    unwrap: bool = True,
    merged: str = "refuse",
) -> DeletionReport:
    """Deletes an adapter and everything of it, checks the result, and proves what was freed.

    All of it happens or nothing: any exception, `KeyboardInterrupt` included, puts the model back object for object.

    Args:
        model: As for `plan_deletion`.
        adapter: Name of the adapter.
        baseline: A snapshot of the model from before the first adapter. With it `requires_grad` of the base
            parameters, what PEFT set in the model's config, and hooks that make its inputs require gradients are
            as they were when the last adapter goes. In a later one, other adapters are found as well: those train
            again that adding this one for inference froze.
        unwrap: Take off wrappers that no adapter needs any more; False keeps PEFT's empty wrappers.
        merged: `"refuse"` raises when the adapter is merged, `"unmerge"` takes it out of the base weights first and
            merges the others again. Unmerging leaves the rounding error of the subtraction in the base weights.

    Returns:
        The report; `report.model` is what to go on with. After the last adapter it is the plain base model.

    Raises:
        ModelError: `model` is no `torch.nn.Module`.
        SnapshotError: `baseline` is no snapshot.
        AdapterError: The model has no adapters, none of that name, or it is merged and `merged="refuse"`; or several
            models in it have adapters, and different ones would have to become active.
        VerificationError: The result was not as planned; the model was put back.
    """
    check_model(model)
    check_baseline(baseline)
    with paused_garbage_collection():
        recorded = record(model, keep=True)
        prepared = _prepare(model, adapter, baseline=baseline, unwrap=unwrap, merged=merged, recorded=recorded)
        before = snapshot_of(recorded, label=f"before deleting {adapter!r}")
        del recorded
        done = carry_out(prepared, label=f"after deleting {adapter!r}")
        del prepared
    return DeletionReport(
        adapter=adapter,
        plan=done.plan,
        model=done.model,
        freed=done.watched.measure(),
        warnings=done.plan.warnings,
        before=before,
        after=done.after,
        baseline=baseline,
    )


class Done(NamedTuple):
    """What carrying out a plan left: weak references to what was removed, the plan, the model, a snapshot of it."""

    watched: Watched
    plan: DeletionPlan
    model: torch.nn.Module
    after: Snapshot


def carry_out(prepared: Prepared, *, label: str) -> Done:
    """Applies what was prepared and verifies it; rolls back on any exception.

    The model is walked once afterwards, for the verification and for the snapshot alike.

    Args:
        prepared: The plan and what it needs.
        label: Label of the snapshot afterwards.
    """
    journal = Journal()
    plan, noted = prepared.plan, note_before(prepared)
    noted.merged.update((key, []) for key in prepared.set_straight)
    try:
        merged = prepared.merged
        if merged:
            list(merging.unmerge(prepared.survey, journal, merged))
            prepared = prepared.again(prepared.survey.anew())
        watched = Watched(prepared)
        apply(prepared, journal)
        _merge_again(prepared, merged, noted.merged, journal)
        left = prepared.model_after
        assert left is not None
        recorded = record(left, keep=True)
        verify(prepared, noted, recorded)
        after = snapshot_of(recorded, label=label)
    except BaseException:
        journal.rollback()
        raise
    journal.commit()
    return Done(watched, plan, left, after)


def apply(prepared: Prepared, journal: Journal) -> None:
    """Carries out what was prepared, through the journal."""
    journal.edit(prepared.edits.list)
    for parameter, flag in prepared.flags.values():
        journal.set_requires_grad(parameter, flag)
    for parameter, dtype in prepared.casts:
        for tensor in (parameter, parameter.grad):
            if tensor is not None:
                journal.set_data(tensor, tensor.data.to(dtype))


def _merge_again(prepared: Prepared, merged: list[Holder], before: dict[int, list[str]], journal: Journal) -> None:
    """Merges the adapters that stay where the one that went was merged beside them."""
    gone = set(prepared.plan.names)
    layers = [
        (holder, names)
        for holder in merged
        if (names := [name for name in before[id(holder.module)] if name not in gone])
    ]
    if layers:
        list(merging.merge(prepared.survey, merging.Merging(layers), journal))


def _prepare(
    model: torch.nn.Module,
    adapter: str,
    *,
    baseline: Snapshot | None,
    unwrap: bool,
    merged: str,
    recorded: Walk | None = None,
) -> Prepared:
    check_model(model)
    check_baseline(baseline)
    if merged not in MERGED:
        raise ValueError(f"merged must be one of {', '.join(map(repr, MERGED))}, not {merged!r}")
    survey = Survey(model, recorded)
    elsewhere = adopt_handles(survey, recorded) if survey.kind is not None else []
    known = survey.names
    if survey.kind is None or not known:
        raise AdapterError(
            f"This {type(model).__name__} has no adapters.",
            where=f"adapter {adapter!r}",
            hint="Pass the PeftModel, or the model into which the adapters were injected.",
        )
    if adapter not in known:
        raise AdapterError(
            f"There is no adapter {adapter!r} in this model.",
            where=f"{survey.kind} model {type(model).__name__}",
            hint=near_matches(str(adapter), known),
        )
    whole = {adapter, *_experts(survey, adapter)}
    others = [name for name in survey.living if name not in whole]
    names = whole if others else set(known)  # with the last adapter go the leftovers of all others
    prepared = prepare(survey, adapter, names, unwrap=unwrap, earlier=earlier_of(survey, baseline))
    check_one_decision(survey, prepared.activity, names)
    if prepared.merged and merged == "refuse":
        places = [action.path for action in prepared.plan.actions if action.kind == "unmerge"]
        raise AdapterError(
            f"Adapter {adapter!r} is merged into the base weights of {len(places)} modules.",
            where=f"{places[0] or 'the model'}" + (f" and {len(places) - 1} more" if len(places) > 1 else ""),
            hint="Call model.unmerge_adapter() first, or pass merged='unmerge' to have it taken out here.",
        )
    if elsewhere:
        handles = "; ".join(f"{type(handle).__name__} with {_registered(handle)}" for handle in elsewhere)
        prepared.plan = dataclasses.replace(
            prepared.plan,
            warnings=(
                *prepared.plan.warnings,
                f"there is another handle on this base model, not passed in ({handles}): it is brought in line.",
            ),
        )
    return prepared


def _registered(handle: torch.nn.Module) -> str:
    return ", ".join(map(repr, registry_of_handle(handle) or {}))


def _experts(survey: Survey, adapter: str) -> tuple[str, ...]:
    """Adapters that go with one because they are parts of it."""
    for name, config in survey.configs.items():
        if adapter in experts_of(config):
            raise AdapterError(
                f"Adapter {adapter!r} is an expert of {name!r}, which weighs a fixed number of them.",
                where=f"{survey.kind} model {type(survey.model).__name__}",
                hint=f"Delete {name!r}: its experts go with it.",
            )
    return experts_of(survey.configs.get(adapter))
