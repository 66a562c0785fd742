"""Recipes for the methods that add to the input, to attention, or weigh other adapters."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from tests.live.zoo.models import llama
from tests.live.zoo.recipes import Recipe

TASK = {"task_type": "CAUSAL_LM"}


def prompt(**options: Any) -> Recipe:
    """A method of prompt learning: everything of it lives on the `PeftModel` itself."""
    inputs = options.pop("inputs", {})
    return Recipe({**TASK, **options}, first={}, second={}, ways=("peft",), inputs=inputs)


@functools.cache
def expert(seed: int) -> str:
    """A folder with a saved LoRA, which X-LoRA loads as an expert."""
    folder = tempfile.mkdtemp(prefix="peftviz-expert-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    torch.manual_seed(seed)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(llama(), config).save_pretrained(folder)
    return folder


def llama_without_cache() -> torch.nn.Module:
    model = llama()
    model.config.use_cache = False
    return model


PROMPTS: dict[str, Recipe] = {
    "ADAPTION_PROMPT": Recipe(
        {"adapter_len": 2, **TASK}, first={"adapter_layers": 2}, second={"adapter_layers": 1}, ways=("peft",)
    ),
    "CARTRIDGE": prompt(num_virtual_tokens=3),
    "CPT": prompt(cpt_token_ids=[0, 1, 2], cpt_mask=[1, 1, 1], cpt_tokens_type_mask=[1, 2, 4]),
    "MULTITASK_PROMPT_TUNING": prompt(num_virtual_tokens=3, num_tasks=2, inputs={"task_ids": torch.tensor([0])}),
    "PREFIX_TUNING": prompt(num_virtual_tokens=3),
    "PROMPT_TUNING": prompt(num_virtual_tokens=3),
    "P_TUNING": prompt(num_virtual_tokens=3, encoder_hidden_size=4),
    "XLORA": Recipe(
        {"hidden_size": 16, "xlora_depth": 1, "xlora_size": 4, **TASK},
        first={"adapters": lambda: {"0": expert(1), "1": expert(2)}},
        second=None,
        build=llama_without_cache,
        ways=("peft",),
    ),
}
