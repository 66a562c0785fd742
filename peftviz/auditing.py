"""`audit` and `assert_clean` for models and snapshots alike; torch is imported only when a model is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftviz.core.audit import Audit, audit_snapshot
from peftviz.core.snapshot import Snapshot
from peftviz.errors import AuditFailure

if TYPE_CHECKING:
    import torch

_LISTED = 10


def audit(model_or_snapshot: torch.nn.Module | Snapshot, *, baseline: Snapshot | None = None) -> Audit:
    """Says what is wrong with a model: what adapters left behind, where it contradicts itself, what drifted.

    Args:
        model_or_snapshot: A model, or a snapshot of one. A model is captured, never changed.
        baseline: An earlier snapshot of the same model to compare with.

    Returns:
        The findings, worst first.

    Raises:
        ModelError: It is neither a model nor a snapshot.
    """
    if isinstance(model_or_snapshot, Snapshot):
        return audit_snapshot(model_or_snapshot, baseline=baseline)
    from peftviz.live.capture import capture

    values = "sample" if baseline is None else baseline.values
    return audit_snapshot(capture(model_or_snapshot, values=values), baseline=baseline)


def assert_clean(model_or_snapshot: torch.nn.Module | Snapshot, *, baseline: Snapshot | None = None) -> None:
    """Raises unless the audit is clean: for tests, and for the cell before `save_pretrained`.

    Args:
        model_or_snapshot: A model, or a snapshot of one.
        baseline: An earlier snapshot of the same model to compare with.

    Raises:
        AuditFailure: There are errors or warnings; the message lists them.
        ModelError: It is neither a model nor a snapshot.
    """
    found = audit(model_or_snapshot, baseline=baseline)
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
