"""PV5xx: what the optimizers of a training loop hold, against what the model has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rows import OptimizerParameter
from peftviz.core.rules.base import elements, first_paths
from peftviz.core.rules.facts import Facts
from peftviz.core.rules.rule import Rule
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import TensorFlag

SHOWN = 8


def parameters_gone(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV501: an optimizer holds parameters that are not in the model."""
    present = set(facts.snapshot.tensors.identity.tolist())
    for optimizer in facts.optimizers:
        gone = [parameter for parameter in optimizer.parameters if parameter.identity not in present]
        if not gone:
            continue
        all_gone = len(gone) == len(optimizer.parameters)
        kept = sum(parameter.nbytes + parameter.state_nbytes for parameter in gone)
        what = "None" if all_gone else f"{len(gone)}"
        verb = "is in the model" if all_gone else "are not in the model any more"
        yield rule.finding(
            "",
            f"{what} of the {len(optimizer.parameters)} parameters of the {optimizer.kind} {verb}: "
            f"stepping on them trains nothing, and keeps {kept:,} bytes.",
            {
                "optimizer": optimizer.kind,
                "parameters": len(gone),
                "of": len(optimizer.parameters),
                "bytes": sum(parameter.nbytes for parameter in gone),
                "state_bytes": sum(parameter.state_nbytes for parameter in gone),
                "were": _once(facts, gone),
                "shapes": dict(Counter(" × ".join(map(str, parameter.shape)) for parameter in gone).most_common(SHOWN)),
            },
            severity="error" if all_gone else "warning",
        )


def untrained_parameters(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV502: parameters of the model require gradients, and no optimizer has them."""
    if not facts.optimizers:
        return
    held = {parameter.identity for optimizer in facts.optimizers for parameter in optimizer.parameters}
    tensors = facts.snapshot.tensors
    parameter = (tensors.flags & TensorFlag.BUFFER) == 0
    trains = np.flatnonzero(parameter & ((tensors.flags & TensorFlag.REQUIRES_GRAD) != 0))
    _, first = np.unique(tensors.identity[trains], return_index=True)
    trains = np.sort(trains[first])
    missed = trains[~np.isin(tensors.identity[trains], list(held))]
    if not len(missed):
        return
    names = sorted({facts.snapshot.adapter_names[code] for code in tensors.adapter[missed].tolist()} - {""})
    none = len(missed) == len(trains)
    said = "None" if none else f"{len(missed)}"
    yield rule.finding(
        facts.snapshot.tensor_path(int(missed[0])) if len(missed) == 1 else "",
        f"{said} of the {len(trains)} parameters that require gradients {'is' if none else 'are'} "
        f"{'in' if none else 'not in'} the optimizer: no step will change them.",
        {
            "parameters": len(missed),
            "of": len(trains),
            "elements": elements(facts, missed),
            "adapters": names,
            "paths": first_paths(facts, missed),
        },
        adapter=names[0] if len(names) == 1 else None,
        severity="error" if none else None,
    )


def _once(facts: Facts, gone: list[OptimizerParameter]) -> list[str]:
    """Where the first few were in an earlier step or the baseline, else their names in the optimizer."""
    earlier: list[Snapshot] = [step.before for step in reversed(facts.history.steps)]
    if facts.baseline is not None:
        earlier.append(facts.baseline)
    found: dict[int, str] = {}
    wanted = [parameter.identity for parameter in gone[:SHOWN]]
    for snapshot in earlier:
        if snapshot.scope is not facts.snapshot.scope:
            continue
        for row in np.flatnonzero(np.isin(snapshot.tensors.identity, wanted)).tolist():
            found.setdefault(int(snapshot.tensors.identity[row]), snapshot.tensor_path(row))
    names = [found.get(parameter.identity, parameter.name) for parameter in gone[:SHOWN]]
    return [name for name in names if name is not None]
