"""The models of the benchmark: shapes of Llama 70B and 405B and of a large mixture of experts, on the meta device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
LATENT = ("q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj", "o_proj")
FIRST, SECOND = "first", "second"


class Part(nn.Module):
    """A module with the given children and no forward: only the tree is measured."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


class Attention(Part): ...


class Mlp(Part): ...


class DecoderLayer(Part): ...


class Decoder(Part): ...


class CausalLM(Part): ...


def linears(names: tuple[str, ...], wide: int, narrow: int) -> dict[str, nn.Module]:
    return {name: nn.Linear(wide, narrow, bias=False) for name in names}


def norms(width: int) -> dict[str, nn.Module]:
    return {name: nn.RMSNorm(width) for name in ("input_layernorm", "post_attention_layernorm")}


def causal(layers: list[nn.Module], width: int) -> nn.Module:
    decoder = Decoder(embed_tokens=nn.Embedding(128256, width), layers=nn.ModuleList(layers), norm=nn.RMSNorm(width))
    return CausalLM(model=decoder, lm_head=nn.Linear(width, 128256, bias=False))


def llama(layers: int, width: int, inner: int, device: str = "meta") -> nn.Module:
    """A Llama with LoRA on all its linear layers and a copy of its head."""
    with torch.device(device):
        base = causal(
            [
                DecoderLayer(
                    self_attn=Attention(**linears(ATTENTION, width, width)),
                    mlp=Mlp(**linears(MLP, width, inner), act_fn=nn.SiLU()),
                    **norms(width),
                )
                for _ in range(layers)
            ],
            width,
        )
        return get_peft_model(base, config())


def mixture(layers: int, experts: int, width: int = 7168, inner: int = 2048) -> nn.Module:
    """A mixture of experts with LoRA on every linear layer.

    PEFT injects into one layer with one expert; the rest are copies of what it made.
    """
    with torch.device("meta"):
        layer = DecoderLayer(
            self_attn=Attention(
                **linears(LATENT, width, width), q_a_layernorm=nn.RMSNorm(1536), kv_a_layernorm=nn.RMSNorm(512)
            ),
            mlp=Mlp(
                gate=Part(),
                experts=nn.ModuleList([Mlp(**linears(MLP, width, inner), act_fn=nn.SiLU())]),
                shared_experts=Mlp(**linears(MLP, width, inner), act_fn=nn.SiLU()),
            ),
            **norms(width),
        )
        model = get_peft_model(causal([layer], width), config())
        stack = model.base_model.model.model.layers
        routed = stack[0].mlp.experts
        routed.extend([twin(routed[0]) for _ in range(experts - 1)])
        stack.extend([twin(stack[0]) for _ in range(layers - 1)])
        return model


def config() -> LoraConfig:
    return LoraConfig(r=8, target_modules=[*ATTENTION, *MLP, *LATENT[:-1]], modules_to_save=["lm_head"])


def twin(module: nn.Module, *, plain: bool = False) -> nn.Module:
    """A copy of a tree with modules, dictionaries and meta tensors of its own.

    `copy.deepcopy` would do, in minutes. With `plain`, modules of PEFT become bare modules without any state: the
    same tree, with nothing but tree and tensors to read.
    """
    copied = object.__new__(Part if plain and type(module).__module__.startswith("peft.") else type(module))
    slots = {
        name: value.copy() if isinstance(value, (dict, list, set)) else value for name, value in vars(module).items()
    }
    if type(copied) is Part:
        slots = {name: value for name, value in slots.items() if name in EMPTY}
    vars(copied).update(slots)
    vars(copied)["_modules"] = {
        name: None if child is None else twin(child, plain=plain) for name, child in module._modules.items()
    }
    vars(copied)["_parameters"] = {
        name: None if tensor is None else nn.Parameter(torch.empty_like(tensor), requires_grad=tensor.requires_grad)
        for name, tensor in module._parameters.items()
    }
    return copied


EMPTY = frozenset(vars(nn.Module()))


def lora_layers(model: nn.Module) -> list[LoraLayer]:
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def add_second(model: Any, *, layer_by_layer: bool) -> None:
    """Adds another adapter; layer by layer where PEFT's `add_adapter` would take hours."""
    added = LoraConfig(r=8, target_modules=config().target_modules)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not layer_by_layer:
            model.add_adapter(SECOND, added)
            return
        for layer in lora_layers(model):
            layer.update_layer(SECOND, 8, lora_alpha=8, config=added)
        model.peft_config[SECOND] = added


def delete_with_peft(model: Any, *, layer_by_layer: bool) -> None:
    """PEFT's own deletion of the second adapter; at XL the loop at its core."""
    if not layer_by_layer:
        model.delete_adapter(SECOND)
        return
    for layer in lora_layers(model):
        layer.delete_adapter(SECOND)
    del model.peft_config[SECOND]


def unwrapped(model: Any) -> Iterator[nn.Module]:
    """Gives the base model with every LoRA layer replaced by what it wraps, then puts the layers back."""
    base = model.base_model.model
    places = [
        (parent, name, child)
        for parent in base.modules()
        for name, child in parent._modules.items()
        if isinstance(child, LoraLayer)
    ]
    for parent, name, child in places:
        parent._modules[name] = child.base_layer
    try:
        yield base
    finally:
        for parent, name, child in places:
            parent._modules[name] = child
