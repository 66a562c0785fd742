"""Kinds of residue that drift or leak: flags, names, hooks, memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

import peftviz
from tests.live.audited import base, lora, two
from tests.upstream.residue.kind import Shown, clean, codes, kind, layers


@kind("The base stays frozen after unload()", "peft#3025", "PV301")
def base_stays_frozen() -> Shown:
    plain = base()
    before = peftviz.capture(plain)
    unloaded = peft.get_peft_model(plain, lora()).unload()
    behaves = not any(parameter.requires_grad for parameter in unloaded.parameters())
    found = codes(unloaded, before)
    second = base()
    baseline = peftviz.capture(second)
    ours = peftviz.unload(peft.get_peft_model(second, lora()), baseline=baseline).model
    return Shown(behaves, found, all(parameter.requires_grad for parameter in ours.parameters()))


@kind("Modules that only the deleted adapter targeted stay wrapped", "none known", "PV102")
def wrappers_beside_living_adapters() -> Shown:
    model = two(lora("q_proj"), lora("q_proj", "k_proj"))
    model.delete_adapter("b")
    attention = model.base_model.model.model.layers[0].self_attn
    behaves = isinstance(attention.k_proj, BaseTunerLayer)
    found = codes(model)
    peftviz.repair(model)
    return Shown(behaves, found, type(attention.k_proj) is torch.nn.Linear and clean(model))


@kind("Dictionaries of the layers keep the name of the deleted adapter", "peft#3376", "PV104")
def names_in_dictionaries() -> Shown:
    model = two()
    model.delete_adapter("b")
    kept = [name for name, value in vars(layers(model)[0]).items() if isinstance(value, dict) and "b" in value]
    found = codes(model)
    return Shown(bool(kept), found, clean(peftviz.repair(model).model))


@kind("VeRA's stores of buffers keep the name of the deleted adapter", "none known", "PV104")
def names_of_buffers() -> Shown:
    config = lambda: peft.VeraConfig(r=2, target_modules=["q_proj"], save_projection=False)  # noqa: E731
    model = peft.get_peft_model(base(), config(), adapter_name="a")
    model.add_adapter("b", config())
    model.delete_adapter("b")
    stores = [module for module in model.modules() if type(module).__name__ == "BufferDict"]
    behaves = any("b" in store._non_persistent_buffers_set for store in stores)
    found = codes(model)
    return Shown(behaves, found, clean(peftviz.repair(model).model))


@kind("With gradient checkpointing each wrapping and unloading adds a hook", "none known", "PV304")
def hooks_pile_up() -> Shown:
    model = base()
    model.gradient_checkpointing_enable()
    before = peftviz.capture(model)
    hooks = model.get_input_embeddings()._forward_hooks
    at_first = len(hooks)
    for _ in range(4):
        model = peft.get_peft_model(model, lora()).unload()
    behaves = len(hooks) > max(2, at_first)
    found = codes(model, before)
    peftviz.repair(model, baseline=before)
    return Shown(behaves, found, len(hooks) == at_first and clean(model, before))


@kind("Deletion makes a frozen fallback trainable", "peft#3717")
def frozen_fallback_trains() -> Shown:
    def model() -> Any:
        made = peft.get_peft_model(base(), lora(inference_mode=True), adapter_name="a")
        made.add_adapter("b", lora())
        made.set_adapter("b")
        for name, parameter in made.named_parameters():
            if ".a." in name:
                parameter.requires_grad_(False)
        return made

    def trains(made: Any) -> bool:
        return any(parameter.requires_grad for name, parameter in made.named_parameters() if ".a." in name)

    theirs, ours = model(), model()
    theirs.delete_adapter("b")
    peftviz.delete_adapter(ours, "b")
    return Shown(trains(theirs), (), not trains(ours))


@kind("disable_adapter() makes an adapter that was loaded for inference trainable", "peft#3447")
def disabling_unfreezes() -> Shown:
    model = peft.get_peft_model(base(), lora(inference_mode=True), adapter_name="a")
    before = any(parameter.requires_grad for parameter in model.parameters())
    with model.disable_adapter():
        pass
    return Shown(not before and any(parameter.requires_grad for parameter in model.parameters()))


@kind("unload() leaves the configs on the plain model", "peft#3067", "PV204")
def configs_after_unload() -> Shown:
    model = peft.get_peft_model(base(), lora()).unload()
    behaves = "peft_config" in vars(model)
    found = codes(model)
    return Shown(behaves, found, "peft_config" not in vars(peftviz.repair(model).model))


@kind("An optimizer keeps the tensors of a deleted adapter alive", "diffusers#8532", "PV501")
def an_optimizer_holds_them() -> Shown:
    model = two()
    model.set_adapter("b")
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    reference = layers(model)[0].lora_A["b"].weight
    number = id(reference)
    del reference
    report = peftviz.delete_adapter(model, "b")
    gc.collect()
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    said = any("AdamW" in holder for _, holders in report.freed.alive for holder in holders)
    return Shown(number in held, codes(model, optimizer=optimizer), said)


@kind("DoRA declares its vector of magnitudes once more with each adapter", "none known")
def dora_declares_again() -> Shown:
    def cycle(delete: Callable[[Any], Any], times: int = 2) -> int:
        model = two(lora(), lora(use_dora=True))
        for _ in range(times):
            delete(model)
            model.add_adapter("b", lora(use_dora=True))
        return max(list(layer.adapter_layer_names).count("lora_magnitude_vector") for layer in layers(model))

    first = cycle(lambda model: None, times=0)
    theirs = cycle(lambda model: model.delete_adapter("b"))
    ours = cycle(lambda model: peftviz.delete_adapter(model, "b"))
    return Shown(theirs > first, (), ours == first)
