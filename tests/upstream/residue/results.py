"""Kinds of residue that give silently wrong results, or lose weights."""

from __future__ import annotations

from typing import Any

import peft
import torch

import peftviz
from tests.live.audited import HEAD, base, delete_per_layer, lora, two
from tests.live.zoo import HAS_TOKENS, output
from tests.oracle import differences
from tests.upstream.residue.kind import Shown, clean, codes, fails, kind, layers, reloaded


@kind("Deleting the last adapter leaves wrappers: the base saves keys that no loader knows", "diffusers#11592", "PV102")
def wrappers_after_the_last_deletion() -> Shown:
    plain = base()
    model = peft.get_peft_model(plain, lora(**HEAD), adapter_name="a")
    model.delete_adapter("a")
    lost = [key for key in plain.state_dict() if ".base_layer." in key or ".original_module." in key]
    found = codes(model)
    left = peftviz.repair(model).model
    return Shown(bool(lost), found, torch.equal(output(reloaded(left)), output(base())))


@kind(
    "The same through transformers, which says nothing: loading draws those weights at random",
    "transformers#34650",
    "PV402",
)
def wrappers_after_the_last_deletion_by_transformers() -> Shown:
    model = base()
    model.add_adapter(lora(), "a")
    model.delete_adapter("a")
    behaves = not torch.equal(output(reloaded(model)), output(base()))
    found = codes(model)
    left = peftviz.repair(model).model
    return Shown(behaves, found, torch.equal(output(reloaded(left)), output(base())))


@kind("The adapter that deletion falls back to runs without its trained head", "peft#3716", "PV201", "PV202")
def fallback_without_its_head() -> Shown:
    model = two(lora(**HEAD), lora()).eval()
    with torch.no_grad():
        model.base_model.model.lm_head.modules_to_save["a"].weight += 1
    model.set_adapter("a")
    wanted = output(model)
    model.set_adapter("b")
    model.delete_adapter("b")
    behaves = fails(lambda: output(model)) or not torch.equal(output(model), wanted)
    found = codes(model)
    return Shown(behaves, found, torch.equal(output(peftviz.repair(model).model), wanted))


@kind("The trained copy of a head outlives PeftModel.delete_adapter", "peft#2381", "PV101")
def head_after_deletion() -> Shown:
    model = two(lora(**HEAD), lora(**HEAD))
    model.delete_adapter("b")
    behaves = "b" in model.base_model.model.lm_head.modules_to_save
    found = codes(model)
    report = peftviz.repair(model)
    return Shown(behaves, found, "b" not in model.base_model.model.lm_head.modules_to_save and report.audit.clean)


@kind("The trained copy of a head outlives deletion layer by layer", "transformers#41252", "PV101")
def head_after_deletion_layer_by_layer() -> Shown:
    model = two(lora(**HEAD), lora(**HEAD))
    delete_per_layer(model, "b")
    behaves = "b" in model.base_model.model.lm_head.modules_to_save
    found = codes(model)
    peftviz.repair(model)
    return Shown(behaves, found, "b" not in model.base_model.model.lm_head.modules_to_save and clean(model))


@kind("Trained tokens outlive PeftModel.delete_adapter", "peft#2381", "PV101")
def tokens_after_deletion() -> Shown | None:
    if not HAS_TOKENS:
        return None
    model = two(lora(), lora(trainable_token_indices=[1, 2]))
    model.delete_adapter("b")
    wrapper = model.base_model.model.model.embed_tokens
    behaves = hasattr(wrapper, "token_adapter") and "b" in wrapper.token_adapter.trainable_tokens_delta
    found = codes(model)
    return Shown(behaves, found, clean(peftviz.repair(model).model))


@kind(
    "An initialiser (PiSSA) changes base weights, and deleting the adapter does not give them back",
    "peft#1860",
    "PV302",
)
def base_changed_by_an_initialiser() -> Shown:
    model = peft.get_peft_model(base(), lora(), adapter_name="a")
    before = peftviz.capture(model)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj.base_layer
    weight = layer.weight.detach().clone()
    model.add_adapter("b", lora(init_lora_weights="pissa"))
    model.delete_adapter("b")
    return Shown(not torch.equal(layer.weight, weight), codes(model, before))


@kind("A second adapter with layer_replication replicates the layers once more", "peft#1933")
def layers_replicated_again() -> Shown:
    config = lambda: lora(layer_replication=[[0, 2], [0, 2]])  # noqa: E731
    model = peft.get_peft_model(base(), config(), adapter_name="a")
    repeated = model.base_model.model.model.layers[2]
    model.add_adapter("b", config())
    return Shown(model.base_model.model.model.layers[2] is not repeated)


@kind("unload() puts the trained head in place of the original and unties it", "none known", "PV303")
def unload_keeps_the_trained_head() -> Shown:
    def model(plain: Any) -> Any:
        made = peft.get_peft_model(plain, lora(**HEAD))
        with torch.no_grad():
            made.base_model.model.lm_head.modules_to_save["default"].weight += 1
        return made.eval()

    plain = base(tie=True)
    before = peftviz.capture(plain)
    unloaded = model(plain).unload()
    behaves = not torch.equal(output(unloaded), output(base(tie=True)))
    other = base(tie=True)
    baseline = peftviz.capture(other)
    ours = peftviz.unload(model(other), baseline=baseline).model
    return Shown(behaves, codes(unloaded, before), differences(ours, base(tie=True)) == [])


@kind('bias="all" trains biases of the base in place, and deletion leaves them trained', "none known", "PV302")
def bias_trained_in_place() -> Shown:
    plain = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    model = peft.get_peft_model(plain, lora("0", bias="all"), adapter_name="a")
    model.add_adapter("b", lora("0"))
    before = peftviz.capture(model)
    bias = model.base_model.model[1].bias
    first = bias.detach().clone()
    optimizer = torch.optim.SGD([bias], lr=0.1)
    if bias.requires_grad:
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
    model.delete_adapter("a")
    return Shown(not torch.equal(bias, first), codes(model, before))


@kind("An adapter that is deleted while merged stays in the base weights", "peft#3498", "PV203")
def deleted_while_merged() -> Shown:
    def merged() -> Any:
        model = two().eval()
        model.set_adapter("b")
        model.merge_adapter()
        return model

    model = merged()
    plain = base().model.layers[0].self_attn.q_proj.weight
    weight = model.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight
    refused = fails(lambda: model.delete_adapter("b"))
    behaves = not refused and not torch.allclose(weight, plain, atol=1e-6)
    found = codes(model)
    other = merged()
    mended = fails(lambda: peftviz.delete_adapter(other, "b"))
    left = peftviz.delete_adapter(other, "b", merged="unmerge").model
    kept = left.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight
    return Shown(behaves, found, mended and torch.allclose(kept, plain, atol=1e-6))


@kind("A cell that runs twice initialises the trained adapter of the same name anew", "peft#2295", "PV305")
def trained_adapter_made_anew() -> Shown:
    plain = base()
    model = peft.get_peft_model(plain, lora())
    trained = layers(model)[0].lora_A["default"].weight.detach().clone()
    before = peftviz.capture(model)
    again = peft.get_peft_model(plain, lora())
    return Shown(not torch.equal(layers(again)[0].lora_A["default"].weight, trained), codes(again, before))


@kind("A cell that runs twice puts a PeftModel into a PeftModel", "trl#4713", "PV401")
def a_peft_model_in_a_peft_model() -> Shown:
    nested = peft.get_peft_model(peft.get_peft_model(base(), lora()), lora())
    return Shown(isinstance(nested.base_model.model, peft.PeftModel), codes(nested))


@kind("Of two active adapters one is merged: the other is silently not applied", "peft#3763", "PV203")
def merged_subset() -> Shown:
    model = two().eval()
    model.base_model.set_adapter(["a", "b"])
    both = output(model)
    model.merge_adapter(adapter_names=["a"])
    return Shown(not torch.allclose(output(model), both, atol=1e-5), codes(model))
