"""Small models and adapters for tests on real PEFT; they work with every release that the tests run on.

`CASES` is LoRA's family in depth, `METHODS` every method that the installed PEFT registers, in each mode that it has.
Both hold `Case`s: a base model and the configs of two adapters, `a` and `b`.
"""

from __future__ import annotations

from tests.live.zoo.cases import WAYS, Case
from tests.live.zoo.handles import Handle, adapter_alone, answer, both_adapters, has_mixin, tensors_of
from tests.live.zoo.lora import ATTENTION, CASES, CHANGING, HAS_TOKENS, HEAD, lora
from tests.live.zoo.models import llama, net, output, tied_llama
from tests.live.zoo.prompts import PROMPTS
from tests.live.zoo.recipes import REGISTERED, Recipe
from tests.live.zoo.tuners import TUNERS

RECIPES: dict[str, Recipe] = {**TUNERS, **PROMPTS}

_ALL = {
    f"{method}-{mode}": case
    for method in sorted(REGISTERED)
    if method in RECIPES
    for mode, case in RECIPES[method].cases(method)
}

METHODS: dict[str, Case] = {name: case for name, case in _ALL.items() if case.second is not None}
"""Such as `"VERA-plain"`, `"VERA-heads"`."""

LONE: dict[str, Case] = {name: case for name, case in _ALL.items() if case.second is None}
"""Methods of which a model takes one adapter only: X-LoRA."""

__all__ = [
    "ATTENTION",
    "CASES",
    "CHANGING",
    "HAS_TOKENS",
    "HEAD",
    "LONE",
    "METHODS",
    "RECIPES",
    "REGISTERED",
    "WAYS",
    "Case",
    "Handle",
    "Recipe",
    "adapter_alone",
    "answer",
    "both_adapters",
    "case_of",
    "has_way",
    "llama",
    "lora",
    "net",
    "one_adapter",
    "output",
    "tensors_of",
    "tied_llama",
    "two_adapters",
]


def one_adapter(case: str, way: str) -> Handle:
    """A model of LoRA's family, or of a method, with adapter a alone, active."""
    return adapter_alone(case_of(case), way)


def two_adapters(case: str, way: str) -> Handle:
    """The same model with a and b, a active."""
    return both_adapters(case_of(case), way)


def case_of(name: str) -> Case:
    """The case of a name in `CASES` or `METHODS`."""
    return CASES[name] if name in CASES else METHODS[name]


def has_way(name: str, way: str) -> bool:
    """Whether a case can be built that way: only transformers models have the mixin."""
    case = case_of(name)
    return way in case.ways and (way != "mixin" or has_mixin(case.build))
