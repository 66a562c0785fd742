"""`repair` mends every finding that is marked repairable: the model is then what it should be.

Each test brings a model into a state by PEFT itself or by an idiom that is in use, finds it, repairs it, and compares
with the model that never was in it.
"""

from __future__ import annotations

import contextlib
from typing import Any

import peft
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from peftviz import capture
from peftviz.auditing import audit
from peftviz.core.rules import RULES
from peftviz.core.snapshot import Snapshot
from peftviz.live.removal.repair import repair
from tests.live.audited import HEAD, base, delete_per_layer, lora
from tests.live.faults import assert_every_fault_is_undone
from tests.live.zoo import METHODS, Handle, answer, case_of, llama, one_adapter, output, two_adapters
from tests.oracle import compare, describe, differences

pytestmark = pytest.mark.filterwarnings("ignore")


def built(make: Any, name: str) -> Any:
    """What `make` builds; a PEFT that does not fit the transformers beside it skips the test."""
    try:
        return make()
    except AttributeError as unfit:
        if not name.startswith("ADAPTION"):
            raise
        pytest.skip(f"PEFT 0.14's adaption prompts: {unfit}")


PLAIN = [name for name in METHODS if name.endswith("-plain") and "peft" in METHODS[name].ways]
HEADS = [name for name in METHODS if name.endswith("-heads") and "peft" in METHODS[name].ways]
TUNERS = [name for name in PLAIN if not METHODS[name].inputs]
KEPT = {
    "FROD": ("frod_",),
    "OSF-": ("hook_handles",),  # handles of hooks that PEFT's own class keeps; the hooks themselves are compared
}
"""By method, what belongs to the tuner and stays when one of several adapters goes."""

REPAIRED: set[str] = set()
"""Codes of which a finding was met and mended by a test of this file."""


def mended(model: Any, *rules: str, baseline: Snapshot | None = None) -> Any:
    """Repairs a model that has findings of these rules, and returns what is to go on with: none of them is left."""
    found = {finding.rule for finding in audit(model, baseline=baseline) if finding.repairable}
    assert found >= set(rules), found
    REPAIRED.update(found)
    report = repair(model, baseline=baseline)
    left = [finding for finding in audit(report.model, baseline=baseline) if finding.repairable]
    assert left == []
    assert repair(report.model, baseline=baseline).actions == ()
    return report.model


def differs(left: Any, right: Any, name: str) -> list[str]:
    """The differences, without those that say nothing: what a shared store keeps for the targets of others."""
    return [text for text in differences(left, right) if not any(word in text for word in KEPT.get(name[:4], ()))]


@pytest.mark.parametrize("name", HEADS)
def test_copies_left_by_the_idiom_per_layer(name: str) -> None:
    handle = two_adapters(name, "peft")
    delete_per_layer(handle.model, "b")
    # Prompts, and what lies outside of layers, are not reached by it: they make a ghost of the adapter.
    model = mended(handle.model, "PV103" if audit(handle.model).of("PV103") else "PV101")
    assert differs(model, one_adapter(name, "peft").model, name) == []


@pytest.mark.parametrize("name", [name for name in TUNERS if case_of(name).build().__class__.__name__ != "Net"])
def test_ghosts_whose_config_is_gone(name: str) -> None:
    handle = built(lambda: two_adapters(name, "peft"), name)
    slots = ("_modules", "_parameters", "_buffers")
    if not any("b" in vars(module)[slot] for module in handle.model.modules() for slot in slots):
        pytest.skip("nothing of it has the adapter's name")
    handle.model.peft_config.pop("b")
    assert audit(handle.model).of("PV103") or audit(handle.model).of("PV101")
    model = mended(handle.model)
    assert differs(model, one_adapter(name, "peft").model, name) == []


@pytest.mark.parametrize("name", PLAIN)
def test_the_last_adapter_deleted_by_peft(name: str) -> None:
    case = case_of(name)
    plain = case.build()
    baseline, before = capture(plain), describe(plain)
    handle = Handle("peft", plain)
    built(lambda: handle.add("a", case.first(), seed=1), name)
    try:
        handle.model.delete_adapter("a")
    except Exception as refused:
        pytest.skip(f"this PEFT does not delete it: {refused!r}"[:80])
    model = mended(handle.model, baseline=baseline)
    assert model is plain
    if not case.changes_base:
        assert list(compare(before, describe(plain))) == []


@pytest.mark.parametrize("way", ["peft", "inject", "mixin"])
def test_layers_that_run_another_adapter(way: str) -> None:
    handle = two_adapters("linear", way)
    layers = [module for module in handle.model.modules() if isinstance(module, BaseTunerLayer)]
    layers[0].set_adapter("b")
    expected = output(two_adapters("linear", way).model)
    assert not torch.equal(output(handle.model), expected)
    assert torch.equal(output(mended(handle.model, "PV201")), expected)


@pytest.mark.parametrize("way", ["peft", "inject"])
def test_layers_that_hold_nothing_any_more_have_no_say(way: str) -> None:
    """As many layers run nothing, for their adapter is gone, as run the one that is left."""
    handle = Handle(way, llama())
    handle.add("a", lora("q_proj"), seed=1)
    handle.add("b", lora("v_proj"), seed=2)
    handle.activate("b")
    expected = output(handle.model)
    handle.activate("a")
    delete_per_layer(handle.model, "a")
    for module in handle.model.modules():
        if isinstance(module, BaseTunerLayer):
            module._active_adapter = ["b"] if "b" in module.lora_A else []
    assert torch.equal(output(mended(handle.model, "PV102")), expected)
    assert [adapter.name for adapter in capture(handle.model).adapters if adapter.active] == ["b"]


def test_layers_some_of_which_are_disabled() -> None:
    handle = two_adapters("linear", "peft")
    next(module for module in handle.model.modules() if isinstance(module, BaseTunerLayer)).enable_adapters(False)
    assert torch.equal(output(mended(handle.model, "PV201")), output(two_adapters("linear", "peft").model))


@pytest.mark.parametrize("way", ["peft", "mixin"])
def test_a_head_that_is_switched_off(way: str) -> None:
    handle = two_adapters("heads", way)
    wrapper = handle.model.base_model.model.lm_head if way == "peft" else handle.model.lm_head
    wrapper.enable_adapters(False)
    assert torch.equal(output(mended(handle.model, "PV202")), output(two_adapters("heads", way).model))


def test_a_fallback_without_its_head() -> None:
    """peft#3716."""
    handle = two_adapters("head-on-first", "peft")
    handle.activate("b")
    handle.model.delete_adapter("b")
    model = mended(handle.model, *(["PV202"] if audit(handle.model).of("PV202") else []))
    assert torch.equal(output(model), output(one_adapter("head-on-first", "peft").model))


def test_names_in_dictionaries_and_in_sets_of_buffers() -> None:
    """PEFT's `BufferDict` forgets to forget that a buffer was not to be saved."""
    if "VERA-plain" not in METHODS:
        pytest.skip("this PEFT has no VeRA that fits")
    config = peft.VeraConfig(r=2, target_modules=["q_proj"], save_projection=False)
    vera = peft.get_peft_model(llama(), config, adapter_name="a")
    vera.add_adapter("b", config)
    vera.delete_adapter("b")
    layer = vera.base_model.model.model.layers[0].self_attn.q_proj
    stores = [module for module in layer.modules() if "b" in vars(module)["_non_persistent_buffers_set"]]
    model = mended(vera, *(["PV104"] if stores else []))
    assert not any("b" in vars(module)["_non_persistent_buffers_set"] for module in model.modules())
    layer = two_adapters("linear", "peft").model
    for module in layer.modules():
        if isinstance(module, BaseTunerLayer):
            module.scaling["gone"] = module.r["gone"] = 1
    left = differences(mended(layer, "PV104"), two_adapters("linear", "peft").model)
    assert [text for text in left if "targeted_module_names" not in text] == []  # older ones list a target twice


def test_a_base_that_stayed_frozen_and_its_config() -> None:
    plain = llama()
    plain.config.pretraining_tp = 2
    baseline, before = capture(plain), describe(plain)
    model = peft.get_peft_model(plain, lora()).unload()
    assert mended(model, "PV301", "PV307", baseline=baseline) is plain
    assert plain.config.pretraining_tp == 2
    assert list(compare(before, describe(plain))) == []


MERGED_APART = [
    name
    for name in ("LORA-plain", "LOHA-plain", "VERA-plain", "OFT-plain", "BOFT-plain", "IA3-plain")
    if name in METHODS
]


@pytest.mark.parametrize("case", MERGED_APART)
@pytest.mark.parametrize("active", [["a", "b"], ["b"]], ids=["a merged, both active", "a merged, b active"])
def test_layers_that_run_what_is_merged_and_not_what_is_active(case: str, active: list[str]) -> None:
    """peft#3763."""
    handle = two_adapters(case, "peft")
    handle.model.base_model.set_adapter(active)
    expected = answer(handle, case_of(case))
    layers = [module for module in handle.model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.merge(adapter_names=["a"])
    handle.model.active_adapter = active[0]
    model = mended(handle.model, "PV203")
    assert not any(layer.merged_adapters for layer in layers)
    assert torch.allclose(answer(handle, case_of(case)), expected, atol=1e-5)
    assert model is handle.model


def test_what_was_deleted_while_it_was_merged_is_said_to_stay() -> None:
    """peft#3498."""
    handle = two_adapters("linear", "peft")
    for layer in handle.model.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.merge(adapter_names=["b"])
    delete_per_layer(handle.model, "b")
    assert {finding.repairable for finding in audit(handle.model).of("PV203")} == {False}
    assert "deleted while merged" in str(repair(handle.model))
    assert audit(handle.model).of("PV203")


@pytest.mark.parametrize("narrow", [torch.float16, torch.bfloat16])
def test_weights_of_a_layer_in_two_dtypes(narrow: torch.dtype) -> None:
    handle = two_adapters("linear", "peft")
    layer = next(module for module in handle.model.modules() if isinstance(module, BaseTunerLayer))
    layer.lora_A["a"].to(narrow)
    weight = layer.lora_A["a"].weight
    values = weight.detach().float()
    weight.grad = torch.ones_like(weight)
    with pytest.raises(RuntimeError):
        output(handle.model)
    mended(handle.model, "PV405")
    assert layer.lora_A["a"].weight is weight
    assert weight.dtype == weight.grad.dtype == torch.float32
    assert torch.equal(weight, values)
    output(handle.model)


def test_a_fault_while_layers_are_set_straight_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = two_adapters("linear", "peft")
    layers = [module for module in handle.model.modules() if isinstance(module, BaseTunerLayer)]
    handle.activate("b")
    layers[0].lora_A["b"].half()
    for layer in layers[:2]:
        layer.merge(adapter_names=["a"])
    assert_every_fault_is_undone(handle.model, lambda: repair(handle.model), monkeypatch)
    assert audit(handle.model).clean


def test_hooks_that_piled_up() -> None:
    plain = base()
    plain.gradient_checkpointing_enable()
    plain.get_input_embeddings()._forward_hooks.clear()
    before = capture(plain)
    model = plain
    for _ in range(4):
        model = peft.get_peft_model(model, lora()).unload()
    model = peft.get_peft_model(model, lora())
    embeddings = plain.get_input_embeddings()
    assert len(embeddings._forward_hooks) > 3
    mended(model, "PV304", baseline=before)
    assert len(embeddings._forward_hooks) == 1, "gradient checkpointing needs one while an adapter is there"
    mended(model.unload(), baseline=before)
    assert not embeddings._forward_hooks


def test_hooks_of_a_forward_that_raised() -> None:
    """peft#3475."""
    handle = two_adapters("linear", "peft")
    expected = output(handle.model)
    with contextlib.suppress(Exception):
        handle.model(torch.tensor([[1, 2]]), adapter_names=["a"], labels="no labels")
    if audit(handle.model).of("PV304"):
        mended(handle.model, "PV304")
    assert not any(module._forward_pre_hooks for module in handle.model.modules())
    assert torch.equal(output(handle.model), expected)


def test_a_checkpoint_of_the_repaired_base_comes_back(tmp_path: Any) -> None:
    """diffusers#11592, transformers#34650: what PEFT leaves is saved under names that no loader knows."""
    plain = base()
    wanted = output(plain)
    baseline = capture(plain)
    model = peft.get_peft_model(plain, lora(**HEAD), adapter_name="a")
    model.delete_adapter("a")
    assert audit(model).of("PV402")
    with contextlib.suppress(IndexError):  # PEFT 0.18 trips over its own wrapper
        plain.save_pretrained(tmp_path / "wrapped")
        assert not torch.equal(output(type(plain).from_pretrained(tmp_path / "wrapped").eval()), wanted)
    mended(model, "PV402", "PV102", baseline=baseline).save_pretrained(tmp_path / "mended")
    assert torch.equal(output(type(plain).from_pretrained(tmp_path / "mended").eval()), wanted)


def test_what_lies_in_a_nested_handle_is_mended_and_the_nesting_is_still_said() -> None:
    inner = two_adapters("heads", "peft")
    delete_per_layer(inner.model, "b")
    nested = peft.get_peft_model(inner.model, lora("k_proj"), adapter_name="outer")
    assert audit(nested).of("PV401")
    model = mended(nested, "PV101")
    assert audit(model).of("PV401")
    assert not audit(model).of("PV101")
    output(model)


def test_a_mixed_model() -> None:
    def build() -> Any:
        torch.manual_seed(0)
        model = peft.get_peft_model(llama(), lora("q_proj"), adapter_name="a", mixed=True)
        torch.manual_seed(0)
        model.add_adapter("b", peft.LoHaConfig(r=2, target_modules=["k_proj"]))
        model.set_adapter(["a"])
        return model

    model = build()
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.scaling["gone"] = module.r["gone"] = 1
    assert differences(mended(model, "PV104"), build()) == []


def test_several_faults_at_once() -> None:
    handle = two_adapters("heads", "peft")
    delete_per_layer(handle.model, "b")
    handle.model.active_adapter = "b"
    wrapper = handle.model.base_model.model.lm_head
    wrapper.enable_adapters(False)
    model = mended(handle.model, "PV101", "PV201", "PV202")
    assert torch.equal(output(model), output(one_adapter("heads", "peft").model))


def test_every_repairable_rule_was_met(request: pytest.FixtureRequest) -> None:
    """Runs last in the file: each rule that promises repair was kept to it above."""
    promised = {rule.code for rule in RULES if rule.repairable}
    if request.config.option.keyword or any("::" in argument for argument in request.config.args):
        pytest.skip("not all tests of this file run")
    assert promised <= REPAIRED
