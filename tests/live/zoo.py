"""Small models and adapters for the tests of deletion; they work with every PEFT the tests run on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import _set_adapter

if TYPE_CHECKING:
    from collections.abc import Callable

HAS_TOKENS = "trainable_token_indices" in {field.name for field in dataclasses.fields(LoraConfig)}


class Net(torch.nn.Module):
    """An embedding, a convolution, linear layers in a `Sequential`, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(16, 8)
        self.conv = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.body = torch.nn.Sequential(torch.nn.Linear(32, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))
        self.head = torch.nn.Linear(8, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        image = self.conv(self.embed(ids).unsqueeze(1))
        return self.head(self.body(image.permute(0, 2, 1, 3).flatten(2)))


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return Net().eval()


def llama(*, tie: bool = False) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 32,
    }
    model = LlamaForCausalLM(LlamaConfig(num_key_value_heads=2, tie_word_embeddings=tie, **sizes)).eval()
    if tie:
        assert model.lm_head.weight is model.model.embed_tokens.weight
    return model


def tied_llama() -> torch.nn.Module:
    return llama(tie=True)


def output(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        result = model(torch.tensor([[1, 2, 3]]))
    return result if isinstance(result, torch.Tensor) else result.logits


def lora(targets: tuple[str, ...], **options: Any) -> LoraConfig:
    return LoraConfig(r=2, target_modules=list(targets), init_lora_weights=False, **options)


@dataclass(frozen=True)
class Case:
    """A base model and the configs of two adapters."""

    build: Callable[[], torch.nn.Module]
    first: Callable[[], LoraConfig]
    second: Callable[[], LoraConfig]


def _heads(*names: str) -> dict[str, Any]:
    return {"modules_to_save": list(names)}


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
    "heads": Case(
        llama, lambda: lora(("q_proj",), **_heads("lm_head")), lambda: lora(("q_proj", "v_proj"), **_heads("lm_head"))
    ),
    "head-on-first": Case(llama, lambda: lora(("q_proj",), **_heads("lm_head")), lambda: lora(("q_proj",))),
    "head-on-second": Case(llama, lambda: lora(("q_proj",)), lambda: lora(("q_proj",), **_heads("lm_head"))),
    "net-heads": Case(net, lambda: lora(("body.0",), **_heads("head")), lambda: lora(("body.2",), **_heads("head"))),
    "tied-head": Case(
        tied_llama, lambda: lora(("q_proj",), **_heads("lm_head")), lambda: lora(("q_proj",), **_heads("lm_head"))
    ),
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
            lambda: lora(("q_proj",), trainable_token_indices=[1, 2], **_heads("lm_head")),
            lambda: lora(("v_proj",), trainable_token_indices=[2, 3], **_heads("lm_head")),
        ),
        "tokens-tied": Case(
            tied_llama,
            lambda: lora(("q_proj",), trainable_token_indices=[1, 2]),
            lambda: lora(("q_proj",), trainable_token_indices=[2, 5]),
        ),
    }


class Handle:
    """A model with adapters, reached through one of PEFT's ways in."""

    def __init__(self, way: str, base: torch.nn.Module) -> None:
        self.way = way
        self.base = base
        self.model = base
        self.names: list[str] = []

    def add(self, name: str, config: LoraConfig, seed: int) -> None:
        torch.manual_seed(seed)
        if self.way == "peft":
            if not self.names:
                self.model = get_peft_model(self.base, config, adapter_name=name)
            else:
                self.model.add_adapter(name, config)
        elif self.way == "inject":
            self.model = inject_adapter_in_model(config, self.base, adapter_name=name)
        else:
            self.model.add_adapter(config, adapter_name=name)
        self.names.append(name)
        for path, parameter in self.model.named_parameters():  # a trained copy differs from its original
            if f"modules_to_save.{name}." in path or f"trainable_tokens_delta.{name}" in path:
                with torch.no_grad():
                    parameter += torch.rand(parameter.shape)
        self.model.eval()

    def activate(self, name: str) -> None:
        if self.way == "peft":
            self.model.set_adapter(name)
            return
        for module in self.model.modules():
            if isinstance(module, BaseTunerLayer):
                module.set_adapter(name)
        activate_wrappers(self.model, name)  # transformers' own set_adapter leaves wrappers of tokens out


def activate_wrappers(model: torch.nn.Module, name: str) -> None:
    try:
        _set_adapter(model, name)
    except TypeError:  # PEFT 0.15.1 indexes with a list on wrappers that were never switched
        for module in model.modules():
            if name in getattr(module, "_adapters", ()):
                module.set_adapter(name)


WAYS = ("peft", "inject", "mixin")


def two_adapters(case: str, way: str) -> Handle:
    """A model with adapters a and b, a active."""
    handle = one_adapter(case, way)
    handle.add("b", CASES[case].second(), seed=2)
    handle.activate("a")
    return handle


def one_adapter(case: str, way: str) -> Handle:
    """The same model with a alone."""
    handle = Handle(way, CASES[case].build())
    handle.add("a", CASES[case].first(), seed=1)
    handle.activate("a")
    return handle


def has_way(case: str, way: str) -> bool:
    """Whether a case can be built that way.

    Only transformers models have the mixin, and its `add_adapter` fails when not every adapter has the same heads.
    """
    return way != "mixin" or (CASES[case].build is not net and not case.startswith("head-on"))
