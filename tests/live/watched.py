"""What the tests of sessions share: a tiny Llama, configs, and names of PEFT bound before any watch begins."""

from __future__ import annotations

import warnings

import torch
from peft import LoraConfig, PeftMixedModel, PeftModel, get_peft_model, inject_adapter_in_model
from transformers import LlamaConfig, LlamaForCausalLM

__all__ = [
    "PeftMixedModel",
    "PeftModel",
    "WarningModel",
    "get_peft_model",
    "inject_adapter_in_model",
    "llama",
    "lora",
    "tokens",
]

PEFT_WARNS = ("default::UserWarning", "default::FutureWarning")
"""PEFT and transformers warn of their own affairs, differently in each version."""


def llama(*, tie: bool = False) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            vocab_size=64,
            tie_word_embeddings=tie,
        )
    ).eval()


def lora(**options: object) -> LoraConfig:
    return LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, **options)


def tokens() -> torch.Tensor:
    return torch.tensor([[1, 2, 3]])


class WarningModel(PeftModel):
    """A handle of the user's own that warns when an adapter is set."""

    def set_adapter(self, *args: object, **options: object) -> None:
        warnings.warn("of the user's own at 0x7f0123456789", UserWarning, stacklevel=2)
        super().set_adapter(*args, **options)
