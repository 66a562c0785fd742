"""A recipe for each method that PEFT registers; `tuners.py` and `prompts.py` hold the recipes.

A recipe gives one case a mode that the method's config has: `plain`, with `modules_to_save` (`heads`), with
`trainable_token_indices` (`tokens`). A method without a recipe fails `test_deletion_methods.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from tests.live.zoo.cases import WAYS, Case, has_field
from tests.live.zoo.models import llama

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig

REGISTERED: dict[str, type[PeftConfig]] = {
    str(getattr(kind, "value", kind)): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
}
"""Config class of each method that the installed PEFT registers."""

MODES: dict[str, tuple[str, Any, Any]] = {
    "plain": ("", None, None),
    "heads": ("modules_to_save", ["lm_head"], ["lm_head"]),
    "tokens": ("trainable_token_indices", [1, 2], [3]),
}
"""Field of a config that makes each mode, and its value for both adapters."""


def _targets(*names: str) -> Callable[[], Mapping[str, Any]]:
    return lambda: {"target_modules": list(names)}


@dataclass(frozen=True)
class Recipe:
    """How to make two tiny adapters of a method.

    Attributes:
        options: Arguments of both configs, or what makes one; those that an older PEFT does not know are left out.
        first: Further arguments of the first.
        second: Further arguments of the second, None where PEFT adds no second one. Its targets overlap the first's, so
            that some layers are shared and some are not.
        build: Makes the base model.
        ways: The ways in that the method has.
        inputs: Further arguments of `forward`.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=_targets("q_proj", "v_proj"))
    second: Mapping[str, Any] | None = field(default_factory=_targets("q_proj", "o_proj"))
    build: Callable[[], torch.nn.Module] = llama
    ways: tuple[str, ...] = WAYS
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def cases(self, method: str) -> Iterator[tuple[str, Case]]:
        """Mode and case, for each mode that a registered method has."""
        config = REGISTERED[method]
        for mode, (name, first, second) in MODES.items():
            if not name or has_field(config, name):
                yield (
                    mode,
                    Case(
                        build=self.build,
                        first=_maker(config, {**self.options, **self.first, name: first}),
                        second=None
                        if self.second is None
                        else _maker(config, {**self.options, **self.second, name: second}),
                        ways=self.ways,
                        inputs=self.inputs,
                    ),
                )


def _maker(config: type[PeftConfig], options: Mapping[str, Any]) -> Callable[[], PeftConfig]:
    known = {key: value for key, value in options.items() if has_field(config, key)}
    return lambda: config(**{key: _fresh(value) for key, value in known.items()})


def _fresh(value: Any) -> Any:
    """PEFT writes into the lists of a config."""
    return value() if callable(value) else list(value) if isinstance(value, list) else value


def layered(**options: Any) -> Recipe:
    """A method whose layers wrap linear ones."""
    return Recipe(options)
