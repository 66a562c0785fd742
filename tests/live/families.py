"""Families of adapters for the state machine: a base model and configs that PEFT lets live together in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import peft

from tests.live.zoo import HAS_TOKENS, llama, lora, net, tied_llama

if TYPE_CHECKING:
    import torch

HEAD = ["lm_head"]


@dataclass(frozen=True)
class Family:
    """What a sequence of operations may use together.

    Attributes:
        build: Makes the base model.
        configs: Makes each kind of adapter.
        sums: Whether PEFT can add weighted sums of these adapters.
        several: Whether several of them may be active at once.
        mixed: Whether the model is a `PeftMixedModel`.
    """

    build: Callable[[], torch.nn.Module]
    configs: Mapping[str, Callable[[], Any]]
    sums: bool = False
    several: bool = True
    mixed: bool = False


def _targets(cls: str, **options: Any) -> dict[str, Callable[[], Any]]:
    """Two kinds of adapters of a method whose targets overlap."""
    make = getattr(peft, cls)
    return {
        f"{cls} qv": lambda: make(target_modules=["q_proj", "v_proj"], **options),
        f"{cls} qo": lambda: make(target_modules=["q_proj", "o_proj"], **options),
    }


FAMILIES: dict[str, Family] = {
    "lora": Family(
        llama,
        {"qv": lambda: lora(("q_proj", "v_proj")), "qo": lambda: lora(("q_proj", "o_proj"))},
        sums=True,
    ),
    "heads": Family(
        llama,
        {
            "q": lambda: lora(("q_proj",)),
            "q head": lambda: lora(("q_proj",), modules_to_save=HEAD),
            "v head": lambda: lora(("v_proj",), modules_to_save=HEAD),
            "dora head": lambda: lora(("q_proj", "k_proj"), use_dora=True, modules_to_save=HEAD),
        },
        several=False,
    ),
    "tied": Family(
        tied_llama,
        {"q": lambda: lora(("q_proj",)), "v head": lambda: lora(("v_proj",), modules_to_save=HEAD)},
        several=False,
    ),
    "net": Family(
        net,
        {
            "conv": lambda: lora(("conv", "body.0"), use_dora=True),
            "embed": lambda: lora(("embed", "body.2"), modules_to_save=["head"]),
        },
        several=False,
    ),
    "ia3": Family(llama, _targets("IA3Config", feedforward_modules=[], init_ia3_weights=False)),
    "vera": Family(llama, _targets("VeraConfig", r=2, init_weights=False)),
    "mixed": Family(
        llama,
        {
            "lora": lambda: lora(("q_proj", "v_proj")),
            "loha": lambda: peft.LoHaConfig(r=2, target_modules=["q_proj", "o_proj"], init_weights=False),
        },
        mixed=True,
    ),
}
if HAS_TOKENS:
    FAMILIES["tokens"] = Family(
        tied_llama,
        {
            "plain": lambda: lora(("q_proj",)),
            "tokens": lambda: lora(("q_proj",), trainable_token_indices=[1, 2]),
            "other tokens": lambda: lora(("v_proj",), trainable_token_indices=[3]),
        },
        several=False,
    )
