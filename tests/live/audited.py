"""Models, adapters and ways to spoil them, for the tests of the audit on real PEFT."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import LlamaConfig, LlamaForCausalLM

TARGETS = ("q_proj", "v_proj")
HEAD = {"modules_to_save": ["lm_head"]}


def base(*, tie: bool = False) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=tie)).eval()


def lora(*targets: str, **options: Any) -> Any:
    return peft.LoraConfig(
        **{"r": 2, "target_modules": list(targets or TARGETS), "init_lora_weights": False, **options}
    )


def two(first: Any = None, second: Any = None, *, tie: bool = False) -> Any:
    """A PeftModel with the adapters a, which is active, and b."""
    model = peft.get_peft_model(base(tie=tie), first or lora(), adapter_name="a")
    model.add_adapter("b", second or lora())
    return model


def delete_per_layer(model: Any, adapter: str) -> None:
    """The idiom that leaves copies behind on every PEFT: each tuner layer is asked, the wrappers are not."""
    inside = {
        id(child) for module in model.modules() if "original_module" in dir(type(module)) for child in module.modules()
    }
    for module in model.modules():
        if isinstance(module, BaseTunerLayer) and id(module) not in inside:
            module.delete_adapter(adapter)
    del model.peft_config[adapter]


@contextlib.contextmanager
def peft_warns() -> Iterator[None]:
    """PEFT may warn of what is done here on purpose; which version does is not what the tests are about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
