"""Reads what optimizers hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from peftviz.core.rows import OptimizerParameter, OptimizerRow
from peftviz.core.snapshot import Snapshot
from peftviz.errors import ModelError
from peftviz.live.snapshots.identity import REGISTRY

Optimizers = torch.optim.Optimizer | Iterable[torch.optim.Optimizer]


def read_optimizers(optimizer: Optimizers, snapshot: Snapshot) -> tuple[OptimizerRow, ...]:
    """Reads the parameters and the sizes of the states of one optimizer or several; nothing is changed.

    Args:
        optimizer: One, or an iterable of several. What wraps one, as accelerate does, will do.
        snapshot: The state that they are held against.

    Raises:
        ModelError: It has no `param_groups`, or the snapshot was not taken in this process.
    """
    if snapshot.scope is not REGISTRY:
        raise ModelError(
            "The snapshot comes from a file or another process: its parameters cannot be told from the optimizer's.",
            where="argument 'optimizer'",
            hint="Audit the model itself, or a snapshot captured in this process.",
        )
    several = isinstance(optimizer, Iterable) and not hasattr(optimizer, "param_groups")
    return tuple(_read(each) for each in (optimizer if several else [optimizer]))  # type: ignore[union-attr]


def _read(optimizer: Any) -> OptimizerRow:
    groups = getattr(optimizer, "param_groups", None)
    if not isinstance(groups, list):
        raise ModelError(
            f"peftviz reads optimizers of PyTorch, not {type(optimizer).__name__!r}.",
            where="argument 'optimizer'",
            hint="Pass what has param_groups, such as torch.optim.AdamW(...), or a list of such.",
        )
    state = getattr(optimizer, "state", None)
    kept: Mapping[Any, Any] = state if isinstance(state, Mapping) else {}
    parameters = [parameter for group in groups for parameter in group["params"]]
    names = [name for group in groups for name in group.get("param_names") or [None] * len(group["params"])]
    return OptimizerRow(
        kind=type(optimizer).__name__,
        parameters=tuple(
            OptimizerParameter(
                identity=serial,
                name=name,
                shape=tuple(parameter.shape),
                nbytes=parameter.numel() * parameter.element_size(),
                state_nbytes=_nbytes(kept.get(parameter)),
            )
            for parameter, name, serial in zip(parameters, names, REGISTRY.serials(parameters).tolist(), strict=True)
        ),
    )


def _nbytes(state: object) -> int:
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(map(_nbytes, state.values()))
    return 0
