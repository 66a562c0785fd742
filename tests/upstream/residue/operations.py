"""Kinds of residue that break later operations."""

from __future__ import annotations

import contextlib
from typing import Any

import peft
import torch

import peftviz
from tests.live.audited import HEAD, base, lora, two
from tests.live.zoo import HAS_TOKENS, output
from tests.upstream.residue.kind import Shown, clean, codes, fails, kind, layers


@kind("After the last deletion the handle names a dead adapter: forward raises", "none known", "PV201")
def stale_handle() -> Shown:
    model = peft.get_peft_model(base(), lora(), adapter_name="a").eval()
    model.delete_adapter("a")
    behaves = fails(lambda: output(model))
    found = codes(model)
    peftviz.repair(model)
    return Shown(behaves, found, torch.equal(output(model), output(base())))


@kind("After the last deletion no adapter with a head can be added again", "peft#3431")
def no_second_life() -> Shown:
    model = peft.get_peft_model(base(), lora(**HEAD), adapter_name="a")
    model.delete_adapter("a")
    behaves = fails(lambda: model.add_adapter("b", lora(**HEAD)))
    other = peft.get_peft_model(base(), lora(**HEAD), adapter_name="a")
    peftviz.delete_adapter(other, "a")
    other.add_adapter("b", lora(**HEAD))
    other.set_adapter("b")
    return Shown(behaves, (), clean(other))


@kind("The same with VeRA, whose shared projections are gone", "peft#3431")
def no_second_life_with_shared_projections() -> Shown:
    config = lambda: peft.VeraConfig(r=2, target_modules=["q_proj"])  # noqa: E731
    model = peft.get_peft_model(base(), config(), adapter_name="a")
    model.delete_adapter("a")
    behaves = fails(lambda: model.add_adapter("b", config()))
    other = peft.get_peft_model(base(), config(), adapter_name="a")
    left = peftviz.delete_adapter(other, "a").model
    return Shown(behaves, (), clean(peft.get_peft_model(left, config(), adapter_name="b")))


@kind("With two adapters active, deleting a third with a head leaves it behind", "none known", "PV101")
def third_adapter_keeps_its_head() -> Shown:
    def three() -> Any:
        model = two()
        model.add_adapter("c", lora(**HEAD))
        model.base_model.set_adapter(["a", "b"])
        return model

    model = three()
    fails(lambda: model.delete_adapter("c"))
    behaves = "c" in model.base_model.model.lm_head.modules_to_save
    found = codes(model)
    peftviz.repair(model)
    other = three()
    peftviz.delete_adapter(other, "c")
    return Shown(behaves, found, clean(model) and clean(other))


@kind("add_adapter fails, and its layers stay: a ghost that nobody can delete", "peft#3707", "PV103")
def ghost() -> Shown:
    model = two()
    with contextlib.suppress(ValueError):
        model.add_adapter("ghost", lora("q_proj", "post_attention_layernorm"))
    behaves = any("ghost" in layer.lora_A for layer in layers(model)) and "ghost" not in model.peft_config
    found = codes(model)
    return Shown(behaves, found, clean(peftviz.repair(model).model))


@kind("A forward with adapter_names that raises leaves its hooks behind", "peft#3475", "PV304")
def hooks_of_a_forward_that_raised() -> Shown:
    model = two().eval()
    with contextlib.suppress(Exception):
        model(torch.tensor([[1, 2]]), adapter_names=["a"], labels="no labels")
    return Shown(any(module._forward_pre_hooks for module in model.modules()), codes(model))


@kind("Deleting a prompt-learning adapter raises and deletes nothing", "peft#3638")
def prompt_cannot_be_deleted() -> Shown:
    def model() -> Any:
        config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
        made = peft.get_peft_model(base(), config, adapter_name="a")
        made.add_adapter("b", peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
        return made

    theirs, ours = model(), model()
    behaves = fails(lambda: theirs.delete_adapter("b"))
    peftviz.delete_adapter(ours, "b")
    return Shown(behaves, (), list(ours.peft_config) == ["a"] and clean(ours))


@kind(
    "The head of a tied model runs the trained tokens of an adapter that was added and is not active",
    "none known",
    "PV201",
)
def inactive_tokens_run() -> Shown | None:
    if not HAS_TOKENS:
        return None
    torch.manual_seed(0)
    model = peft.get_peft_model(base(tie=True), lora(), adapter_name="a").eval()
    wanted = output(model)
    model.add_adapter("b", lora(trainable_token_indices=[1, 2]))
    with torch.no_grad():
        model.base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta["b"] += 1
    model.eval()
    behaves = not torch.equal(output(model), wanted)
    found = codes(model)
    peftviz.delete_adapter(model, "b")
    return Shown(behaves, found, torch.equal(output(model), wanted))
