"""Recipes for the methods whose tuner puts layers into the base model."""

from __future__ import annotations

from typing import Any

import torch

from tests.live.zoo.recipes import Recipe, layered


def shared_store(**options: Any) -> Recipe:
    """A method that keeps what its adapters share on the tuner: newer PEFT refuses to inject it without one.

    RandLora it does not refuse: a second one takes the projections of the first (`test_deletion_combinations.py`).
    """
    return Recipe(options, ways=("peft",))


TUNERS: dict[str, Recipe] = {
    "ADALORA": Recipe(  # one adapter at most may be trainable
        {"init_r": 2, "target_r": 1, "total_step": 10},
        second={"target_modules": ["q_proj", "o_proj"], "inference_mode": True},
        ways=("peft",),
    ),
    "ADAMSS": layered(r=4, num_subspaces=2, subspace_rank=1),
    "BEFT": layered(),
    "BOFT": layered(boft_block_size=4),
    "BONE": layered(r=2),
    "C3A": layered(block_size=8),
    "DEFT": layered(r=2),
    "DELORA": layered(r=2),
    "FOURIERFT": layered(n_frequency=4),
    "FROD": shared_store(progressbar=False),
    "GLORA": layered(r=2),
    "GRALORA": layered(r=4, gralora_k=2),
    "HIRA": layered(r=2),
    "HRA": layered(r=2),
    "IA3": layered(feedforward_modules=[]),
    "LILY": layered(r=2),
    "LN_TUNING": Recipe(
        first={"target_modules": ["input_layernorm"]}, second={"target_modules": ["input_layernorm", "norm"]}
    ),
    "LOHA": layered(r=2),
    "LOKR": layered(r=2),
    "LORA": layered(r=2, init_lora_weights=False),
    "MISS": layered(r=2),
    "OFT": layered(oft_block_size=4, r=0),
    "OSF": layered(effective_rank=2),
    "PEANUT": layered(r=2),
    "POLY": Recipe(
        {"r": 2, "n_tasks": 2, "n_skills": 2, "task_type": "CAUSAL_LM"},
        ways=("peft",),
        inputs={"task_ids": torch.tensor([0])},
    ),
    "PSOFT": layered(r=2),
    "PVERA": shared_store(r=2),
    "RANDLORA": shared_store(r=2),
    "ROAD": layered(group_size=2),
    "SHADOW": Recipe({"r": 2, "task_type": "CAUSAL_LM"}, first={}, second={}, ways=("peft",)),
    "SHIRA": layered(r=1, random_seed=3),
    "SUPERTUNING": layered(sparsity=0.9),
    "TINYLORA": shared_store(u=2),
    "TRAINABLE_TOKENS": Recipe(
        first={"target_modules": ["embed_tokens"], "token_indices": [1, 2]},
        second={"target_modules": ["embed_tokens"], "token_indices": [3]},
    ),
    "UNILORA": shared_store(r=2, theta_d_length=8),
    "VBLORA": shared_store(r=2, num_vectors=8, vector_length=4),
    "VERA": shared_store(r=2),
    "WAVEFT": layered(n_frequency=4),
}
