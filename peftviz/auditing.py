"""`audit` and `assert_clean` for models, sessions and snapshots alike; torch is imported only for a live model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftviz.core.arguments import check_baseline
from peftviz.core.audit import Audit, audit_snapshot, with_optimizers
from peftviz.core.snapshot import Snapshot
from peftviz.core.timeline import Step, Timeline
from peftviz.errors import AuditFailure

if TYPE_CHECKING:
    import torch

    from peftviz.live.sessions.session import Session
    from peftviz.live.snapshots.optimizers import Optimizers

_LISTED = 10


def audit(
    model_or_snapshot: torch.nn.Module | Snapshot | Session | Timeline | Step,
    *,
    baseline: Snapshot | None = None,
    optimizer: Optimizers | None = None,
) -> Audit:
    """Says what is wrong with a model: what adapters left behind, where it contradicts itself, what drifted.

    Args:
        model_or_snapshot: A model, or a snapshot of one. A model is captured, never changed. Of a session, a timeline
            or a step the last state is judged, and findings name the steps that brought them about.
        baseline: An earlier snapshot of the same model to compare with; a session, a timeline and a step have their
            own.
        optimizer: The optimizer that trains the model, or several. With it the rules on optimizers (`PV5xx`) apply.

    Returns:
        The findings, worst first.

    Raises:
        ModelError: It is none of these, or `optimizer` is no optimizer of the process in which the state was captured.
        SnapshotError: The baseline is no snapshot.
    """
    check_baseline(baseline)
    found, history = _judged(model_or_snapshot, baseline)
    if optimizer is None:
        return found
    from peftviz.live.snapshots.optimizers import read_optimizers

    return with_optimizers(found, read_optimizers(optimizer, found.snapshot), history=history)


def _judged(
    model: torch.nn.Module | Snapshot | Session | Timeline | Step, baseline: Snapshot | None
) -> tuple[Audit, tuple[Step, ...]]:
    """The audit, and the steps that led to the state that was judged."""
    if isinstance(model, Snapshot):
        return audit_snapshot(model, baseline=baseline), ()
    recorded = _recorded(model)
    if isinstance(recorded, Timeline):
        if not len(recorded):
            return audit_snapshot(recorded.baseline, baseline=baseline), ()
        recorded = recorded[-1]
    if isinstance(recorded, Step):
        history = recorded.history
        if baseline is None or baseline is recorded.baseline:
            return recorded.audit, history
        return audit_snapshot(recorded.after, baseline=baseline, history=history), history
    from peftviz.live.snapshots.capture import capture

    values = "sample" if baseline is None else baseline.values
    return audit_snapshot(capture(recorded, values=values), baseline=baseline), ()


def assert_clean(
    model_or_snapshot: torch.nn.Module | Snapshot | Session | Timeline | Step,
    *,
    baseline: Snapshot | None = None,
    optimizer: Optimizers | None = None,
) -> None:
    """Raises unless the audit is clean: for tests, and for the cell before `save_pretrained`.

    Args:
        model_or_snapshot: What `audit` takes.
        baseline: An earlier snapshot of the same model to compare with.
        optimizer: The optimizer that trains the model, or several.

    Raises:
        AuditFailure: There are errors or warnings; the message lists them.
        ModelError: It is nothing that can be audited.
    """
    found = audit(model_or_snapshot, baseline=baseline, optimizer=optimizer)
    if found.clean:
        return
    faults = [finding for finding in found if finding.severity != "info"]
    lines = [f"  {f.rule} {f.severity} at {f.path or 'the model'}: {f.message}" for f in faults[:_LISTED]]
    if len(faults) > _LISTED:
        lines.append(f"  and {len(faults) - _LISTED} more")
    remedies = dict.fromkeys(finding.remedy for finding in faults)
    raise AuditFailure(
        "\n".join([f"The audit found {len(faults)} fault{'s' * (len(faults) != 1)}.", *lines]),
        where=f"{found.snapshot.root_class}",
        hint=" ".join(remedies),
    )


def _recorded(model: torch.nn.Module | Session | Timeline | Step) -> torch.nn.Module | Timeline | Step:
    """The timeline of a session, after a look at its model as it is now; anything else as it is."""
    timeline = getattr(type(model), "timeline", None) and getattr(model, "timeline", None)
    if not isinstance(timeline, Timeline):
        return model  # type: ignore[return-value]  # sessions have a timeline
    if not getattr(model, "closed", True):
        model.capture()  # type: ignore[operator, union-attr]  # an open session looks before it answers
    return timeline
