"""Gives the base model back: every adapter comes off at once, its changes merged into the base first on request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftviz.core.arguments import check_baseline
from peftviz.core.operation_plan import OperationPlan
from peftviz.core.plan import Action
from peftviz.errors import AdapterError
from peftviz.live.removal import merging, ties
from peftviz.live.removal.activity import read_activity
from peftviz.live.removal.baseline import Earlier, earlier_of
from peftviz.live.removal.deletion import Report, apply
from peftviz.live.removal.journal import Journal
from peftviz.live.removal.prepare import Prepared, prepare
from peftviz.live.removal.survey import Survey
from peftviz.live.removal.verify import Watched, note_before, verify
from peftviz.live.snapshots.capture import capture, check_model, paused_garbage_collection, record, snapshot_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from peftviz.core.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class UnloadReport(Report):
    """What `unload` did.

    Attributes:
        adapters: The adapters that came off, in config order.
        merged: Those of them whose changes are in the base weights now, trained copies included.
        actions: Every change, in the order in which it was made.
    """

    adapters: tuple[str, ...]
    merged: tuple[str, ...]
    actions: tuple[Action, ...]

    def lines(self) -> list[str]:
        """The report as lines of plain text."""
        names = ", ".join(map(repr, self.adapters)) or "what was left of adapters"
        merged = f", {', '.join(map(repr, self.merged))} merged into the base" if self.merged else ""
        counts = Counter(action.kind for action in self.actions)
        return [
            f"Unloaded {names}{merged}; go on with report.model, a {type(self.model).__name__}",
            f"done: {', '.join(f'{kind} {count}' for kind, count in counts.items())}",
            *self.freed.lines(),
            *(f"warning: {warning}" for warning in self.warnings),
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def unload(model: torch.nn.Module, *, merge: bool = False, baseline: Snapshot | None = None) -> UnloadReport:
    """Takes every adapter off a model and gives the base model back, checked.

    All of it happens or nothing: any exception, `KeyboardInterrupt` included, puts the model back object for object.

    Args:
        model: As for `peftviz.delete_adapter`. A model with nothing but empty wrappers or leftovers is fine too.
        merge: False gives the base as it was: original heads, and adapters that are merged are taken out of the base
            weights first. True writes the active adapters into the base, so that it computes what the model computes
            now: their layers are merged, and trained copies (`modules_to_save`) take the place of the originals.
            While it works it needs the memory of the merged weights once more, to be able to undo.
        baseline: A snapshot of the model from before the first adapter. With it `requires_grad` of the base
            parameters is restored, what PEFT set in the model's config, and hooks that make its inputs require
            gradients.

    Returns:
        The report; `report.model` is the plain base model.

    Raises:
        ModelError: `model` is no `torch.nn.Module`.
        SnapshotError: `baseline` is no snapshot.
        AdapterError: The model has no adapters; with `merge=True` also: none is active, or one that is active cannot be
            merged; without it: one that is merged cannot be taken out again.
        VerificationError: The result was not as planned; the model was put back.
    """
    check_model(model)
    check_baseline(baseline)
    with paused_garbage_collection():
        recorded = record(model, keep=True)
        survey = Survey(model, recorded)
        _check_adapted(survey)
        before = snapshot_of(recorded, label="before unloading")
        del recorded
        merged = read_activity(survey, ()).before if merge else ()
        names = tuple(survey.living)
        watched, left, actions, warnings = _carry_out(survey, merge=merge, baseline=baseline)
        del survey
    return UnloadReport(
        model=left,
        freed=watched.measure(),
        warnings=warnings,
        before=before,
        after=capture(left, label="after unloading"),
        baseline=baseline,
        adapters=names,
        merged=merged,
        actions=actions,
    )


def plan_unload(model: torch.nn.Module, *, merge: bool = False, baseline: Snapshot | None = None) -> OperationPlan:
    """Says what `unload` would do with the same arguments, and touches nothing.

    Raises:
        ModelError: `model` is no `torch.nn.Module`.
        SnapshotError: `baseline` is no snapshot.
        AdapterError: As `unload` does.
    """
    check_model(model)
    check_baseline(baseline)
    survey = Survey(model)
    _check_adapted(survey)
    activity = read_activity(survey, ())
    planned = merging.plan_merging(survey, activity) if merge else merging.Merging()
    prepared = _prepare(survey, planned, activity.before if merge else (), earlier_of(survey, baseline))
    merges = [Action("merge", holder.path, ", ".join(map(repr, names))) for holder, names in planned.layers]
    actions = (*merges, *(action for action in prepared.plan.actions if not (merge and action.kind == "unmerge")))
    rounding = (_ROUNDING,) if prepared.merged and not merge else ()
    return OperationPlan(
        "merge_and_unload" if merge else "unload",
        tuple(survey.living),
        survey.kind or "",
        actions,
        warnings=(*rounding, *prepared.plan.warnings),
    )


def _check_adapted(survey: Survey) -> None:
    if survey.kind is None:
        raise AdapterError(
            f"This {type(survey.model).__name__} has no adapters.",
            where="argument 'model'",
            hint="Pass the PeftModel, or the model into which the adapters were injected.",
        )


def _carry_out(
    survey: Survey, *, merge: bool, baseline: Snapshot | None
) -> tuple[Watched, torch.nn.Module, tuple[Action, ...], tuple[str, ...]]:
    """Settles the base weights, looks again, takes everything off; rolls back on any exception."""
    model = survey.model
    activity = read_activity(survey, ())
    planned = merging.plan_merging(survey, activity) if merge else merging.Merging()
    earlier = earlier_of(survey, baseline)
    at_first = ties.parameters_by_path(model) if merge else {}
    warnings: list[str] = []
    journal = Journal()
    try:
        settled = merging.merge(survey, planned, journal) if merge else merging.unmerge(survey, journal)
        actions = [Action("merge" if merge else "unmerge", holder.path, detail) for holder, detail in settled]
        if actions and not merge:
            warnings.append(_ROUNDING)
        if merge and not activity.enabled:
            warnings.append("The adapters were disabled; the active ones were merged all the same.")
        prepared = _prepare(Survey(model), planned, activity.before if merge else (), earlier)
        left = prepared.model_after
        assert left is not None
        noted = note_before(prepared)
        watched = Watched(prepared)
        apply(prepared, journal)
        actions += prepared.plan.actions
        now = ties.parameters_by_path(left) if merge else {}
        verify(prepared, noted)
        _flag_like_the_originals(at_first, now, earlier.flags if earlier is not None else {}, journal)
        warnings += prepared.plan.warnings
        warnings += _said_of_copies(at_first, now)
        for untied in ties.lost_ties(at_first, now):
            warnings.append(_said_of_tie(untied, ties.correct_configs(left, untied, journal)))
    except BaseException:
        journal.rollback()
        raise
    journal.commit()
    return watched, left, tuple(actions), tuple(warnings)


_ROUNDING = (
    "Merged adapters were taken out of the base weights; the rounding error of the subtraction stays in them. "
    "Load the base weights again to have them exactly."
)


def _prepare(survey: Survey, planned: merging.Merging, merged: tuple[str, ...], earlier: Earlier | None) -> Prepared:
    return prepare(
        survey, "", survey.names, unwrap=True, earlier=earlier, kept=planned.copies, in_base=frozenset(merged)
    )


def _flag_like_the_originals(
    before: Mapping[str, torch.nn.Parameter],
    after: Mapping[str, torch.nn.Parameter],
    restored: Mapping[int, bool],
    journal: Journal,
) -> None:
    """A trained copy that stands in for an original takes its flag; the copy's own was an adapter's."""
    for path, parameter in after.items():
        original = before.get(path)
        if original is not None and original is not parameter and parameter.is_floating_point():
            wanted = restored.get(id(original), original.requires_grad)
            if parameter.requires_grad != wanted:
                journal.set_requires_grad(parameter, wanted)


def _said_of_copies(before: Mapping[str, torch.nn.Parameter], after: Mapping[str, torch.nn.Parameter]) -> list[str]:
    return [
        f"{path} is {_dtype(parameter)} now, as its copy was trained; the original was {_dtype(before[path])}."
        for path, parameter in after.items()
        if path in before and parameter.dtype != before[path].dtype
    ]


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _said_of_tie(untied: tuple[str, ...], corrected: list[str]) -> str:
    said = f"{' and '.join(untied)} are no longer tied: they were trained apart."
    if corrected:
        where = " and ".join(f"{path}.config" if path else "config" for path in corrected)
        said += f" {where}.{ties.TIED_BY_CONFIG} is False now, so that saving and loading keep both."
    return said
