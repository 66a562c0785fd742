"""Two mistakes that a type checker is to find: a misspelt argument, and a report that is no snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import peftviz

if TYPE_CHECKING:
    import torch


def misspelt(model: torch.nn.Module) -> peftviz.Snapshot:
    return peftviz.capture(model, lable="now")


def confused(model: torch.nn.Module) -> peftviz.Snapshot:
    return peftviz.repair(model)
