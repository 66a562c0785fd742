"""LoRA and its family, in depth: layer types, variants, heads, tokens, ties.

A case whose arguments the installed PEFT does not know is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import peft
import torch
from peft import LoraConfig

from tests.live.zoo.cases import WAYS, Case, has_field
from tests.live.zoo.models import (
    attention,
    convolutions,
    llama,
    llama_with_biases,
    mixture,
    net,
    tied_llama,
)

HAS_TOKENS = has_field(LoraConfig, "trainable_token_indices")
HEAD = {"modules_to_save": ["lm_head"]}
"""Options of an adapter that trains a copy of the output layer, too."""


def lora(targets: tuple[str, ...], **options: Any) -> LoraConfig:
    """A LoRA of rank 2 with random weights, so that it changes the output."""
    own = copy.deepcopy(options)  # PEFT writes into the lists of a config
    return LoraConfig(target_modules=list(targets), **{"r": 2, "init_lora_weights": False, **own})


CASES: dict[str, Case] = {
    "linear": Case(llama, lambda: lora(("q_proj", "v_proj")), lambda: lora(("q_proj", "v_proj"))),
    "other-targets": Case(llama, lambda: lora(("q_proj", "v_proj")), lambda: lora(("v_proj", "o_proj", "up_proj"))),
    "dora": Case(llama, lambda: lora(("q_proj",), use_dora=True), lambda: lora(("q_proj", "k_proj"), use_dora=True)),
    "dora-second": Case(llama, lambda: lora(("q_proj",)), lambda: lora(("q_proj",), use_dora=True)),
    "rslora-bias": Case(
        llama,
        lambda: lora(("q_proj",), use_rslora=True),
        lambda: lora(("q_proj",), lora_dropout=0.1),
    ),
    "embedding": Case(net, lambda: lora(("embed", "body.0")), lambda: lora(("embed", "body.2"))),
    "conv": Case(net, lambda: lora(("conv",)), lambda: lora(("conv", "body.0"))),
    "conv-dora": Case(net, lambda: lora(("conv",), use_dora=True), lambda: lora(("conv",), use_dora=True)),
    "conv-3d": Case(convolutions, lambda: lora(("space",)), lambda: lora(("space", "head"))),
    "heads": Case(llama, lambda: lora(("q_proj",), **HEAD), lambda: lora(("q_proj", "v_proj"), **HEAD)),
    "head-on-first": Case(llama, lambda: lora(("q_proj",), **HEAD), lambda: lora(("q_proj",)), ways=("peft", "inject")),
    "head-on-second": Case(
        llama, lambda: lora(("q_proj",)), lambda: lora(("q_proj",), **HEAD), ways=("peft", "inject")
    ),
    "net-heads": Case(
        net, lambda: lora(("body.0",), modules_to_save=["head"]), lambda: lora(("body.2",), modules_to_save=["head"])
    ),
    "tied-head": Case(tied_llama, lambda: lora(("q_proj",), **HEAD), lambda: lora(("q_proj",), **HEAD)),
    "tied": Case(tied_llama, lambda: lora(("q_proj",)), lambda: lora(("v_proj",))),
}
if HAS_TOKENS:
    CASES |= {
        "tokens": Case(
            llama,
            lambda: lora(("q_proj",), trainable_token_indices=[1, 2]),
            lambda: lora(("q_proj",), trainable_token_indices=[3]),
        ),
        "tokens-on-second": Case(
            llama, lambda: lora(("q_proj",)), lambda: lora(("q_proj",), trainable_token_indices=[1, 2])
        ),
        "tokens-on-first": Case(
            llama, lambda: lora(("q_proj",), trainable_token_indices=[1, 2]), lambda: lora(("q_proj",))
        ),
        "tokens-and-head": Case(
            llama,
            lambda: lora(("q_proj",), trainable_token_indices=[1, 2], **HEAD),
            lambda: lora(("v_proj",), trainable_token_indices=[2, 3], **HEAD),
        ),
        "tokens-tied": Case(
            tied_llama,
            lambda: lora(("q_proj",), trainable_token_indices=[1, 2]),
            lambda: lora(("q_proj",), trainable_token_indices=[2, 5]),
        ),
    }


Variant = tuple[str, str, Callable[[], torch.nn.Module], dict[str, Any], dict[str, Any]]


def _variants() -> Iterator[Variant]:
    """Name, field that it needs, base model, arguments of the first and of the second adapter."""
    q, qo = {"targets": ("q_proj",)}, {"targets": ("q_proj", "o_proj")}
    yield "bias-of-lora", "lora_bias", llama_with_biases, q | {"lora_bias": True}, qo | {"lora_bias": True}
    if hasattr(peft.tuners.lora.layer, "Conv1d"):
        yield "conv-1d", "", convolutions, {"targets": ("line",)}, {"targets": ("line", "head")}
    invocation = {"alora_invocation_tokens": [1]}
    yield "alora", "alora_invocation_tokens", llama, q, qo | invocation | {"task_type": "CAUSAL_LM"}
    experts = {"targets": ()}
    yield (
        "target-parameters",
        "velora_config",  # before that, PEFT adds one such adapter alone
        mixture,
        experts | {"target_parameters": ["experts.up", "experts.down"]},
        experts | {"target_parameters": ["experts.up", "experts.down"]},
    )
    if hasattr(peft, "BdLoraConfig"):
        block = {"use_bdlora": peft.BdLoraConfig(target_modules_bd_b=["q_proj"], nblocks=2, match_strict=False)}
        yield "bd-lora", "use_bdlora", llama, q | block, qo | block
    if hasattr(peft, "VeloraConfig"):
        groups = {"velora_config": peft.VeloraConfig(num_groups=2)}
        yield "velora", "velora_config", llama, q | groups, qo | groups
    if hasattr(peft, "VeloraConfig"):  # MiCA came with it
        yield "mica", "", llama, q, qo | {"init_lora_weights": "mica"}
    tied = HEAD | {"ensure_weight_tying": True}
    yield "heads-kept-tied", "velora_config", tied_llama, q | tied, qo | tied


for _name, _needed, _build, _first, _second in _variants():
    if not _needed or has_field(LoraConfig, _needed):
        CASES[_name] = Case(
            _build,
            lambda options=_first: lora(**options),
            lambda options=_second: lora(**options),
            ways=("peft", "inject") if _name == "heads-kept-tied" else WAYS,  # the mixin activates what is not there
        )


ATTENTION = Case(attention, lambda: lora(("attention",)), lambda: lora(("attention", "head")), ways=("peft", "inject"))
"""PyTorch's attention, whose weights PEFT's layer takes out and registers anew: in another order, as new objects."""


def _changing(build: Callable[[], torch.nn.Module], words: str, first: dict[str, Any], second: dict[str, Any]) -> Case:
    return Case(
        build,
        lambda: lora(("q_proj",), **first),
        lambda: lora(("q_proj", "o_proj"), **second),
        ways=("peft",),
        changes_base=words,
    )


CHANGING: dict[str, Case] = {
    "pissa": _changing(llama, "init_lora_weights='pissa' of 'b'", {}, {"init_lora_weights": "pissa"}),
    "olora": _changing(llama, "init_lora_weights='olora' of 'b'", {}, {"init_lora_weights": "olora"}),
}
"""Adapters of which the second writes into the weights of the base when it is added."""
if has_field(LoraConfig, "kasa_config"):
    _kasa = {"kasa_config": peft.KasaConfig(), "init_lora_weights": True}
    CHANGING["kasa"] = _changing(llama, "kasa_config of 'b'", _kasa, _kasa)
