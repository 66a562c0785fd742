"""What a case of the matrix is: a base model and the configs of two adapters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig

WAYS = ("peft", "inject", "mixin")
"""Ways in: a `PeftModel`, the functional API, transformers' mixin."""


@dataclass(frozen=True)
class Case:
    """A base model and the configs of two adapters.

    Attributes:
        build: Makes the base model.
        first: Makes the config of adapter a.
        second: Makes the config of adapter b; None where PEFT adds no second one.
        ways: The ways in by which both can be added.
        inputs: Further arguments of `forward`.
        changes_base: What a warning says when adding the adapters changes the base model for good; `""` when it
            does not.
    """

    build: Callable[[], torch.nn.Module]
    first: Callable[[], PeftConfig]
    second: Callable[[], PeftConfig] | None
    ways: tuple[str, ...] = WAYS
    inputs: Mapping[str, Any] = field(default_factory=dict)
    changes_base: str = ""


def has_field(config: type[PeftConfig], name: str) -> bool:
    """Whether the installed PEFT knows an argument of a config."""
    return name in {item.name for item in dataclasses.fields(config)}
