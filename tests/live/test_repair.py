"""`repair` mends what PEFT's own operations left behind."""

from __future__ import annotations

import gc
import warnings
import weakref

import pytest
import torch
from peft import VeraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from peftviz.auditing import audit
from peftviz.live.removal.repair import repair
from peftviz.live.snapshots.capture import capture
from tests.live.zoo import CASES, WAYS, Handle, has_way, llama, lora, one_adapter, output, two_adapters
from tests.oracle import compare, describe, differences, photograph

pytestmark = pytest.mark.filterwarnings("ignore")


def repairable(model: torch.nn.Module, baseline=None) -> list[str]:
    return [f"{finding.rule} {finding.path}" for finding in audit(model, baseline=baseline) if finding.repairable]


@pytest.mark.parametrize(("case", "way"), [(case, way) for case in CASES for way in WAYS if has_way(case, way)])
def test_a_healthy_model_is_left_as_it_is(case: str, way: str) -> None:
    handle = two_adapters(case, way)
    before = photograph(handle.model)
    report = repair(handle.model)
    assert report.actions == ()
    assert not report.diff
    assert photograph(handle.model) == before


def delete_layer_by_layer(model: torch.nn.Module, name: str) -> None:
    """The idiom that leaves copies behind on every version."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer) and name in getattr(module, "lora_A", {}):
            module.delete_adapter(name)
    model.peft_config.pop(name)


def test_a_leftover_head_goes_and_is_freed() -> None:
    handle = two_adapters("heads", "peft")
    delete_layer_by_layer(handle.model, "b")
    copy = weakref.ref(handle.model.base_model.model.lm_head.modules_to_save["b"].weight)
    assert any(finding.startswith("PV101") for finding in repairable(handle.model))
    report = repair(handle.model)
    assert copy() is None
    assert report.freed.bytes == 32 * 16 * 4
    assert report.freed.alive == ()
    assert repairable(report.model) == []
    assert differences(report.model, one_adapter("heads", "peft").model) == []


def test_the_classic_leftover_of_pefts_own_deletion() -> None:
    """Huggingface/peft#2381: until 0.15.2 the copy of the head survives `delete_adapter`."""
    handle = two_adapters("heads", "peft")
    wrapper = handle.model.base_model.model.lm_head
    copy = weakref.ref(wrapper.modules_to_save["b"].weight)
    handle.model.delete_adapter("b")
    gc.collect()
    survived = copy() is not None
    assert survived == ("b" in wrapper.modules_to_save)
    report = repair(handle.model)
    assert copy() is None
    assert survived == (report.freed.bytes > 0)
    assert differences(report.model, one_adapter("heads", "peft").model) == []


@pytest.mark.parametrize("case", ["linear", "heads", "dora", "tied", "net-heads"])
def test_wrappers_that_peft_leaves_after_the_last_deletion_come_off(case: str) -> None:
    base = CASES[case].build()
    baseline = capture(base)
    before = describe(base)
    handle = Handle("peft", base)
    handle.add("a", CASES[case].first(), seed=1)
    handle.model.delete_adapter("a")
    report = repair(handle.model, baseline=baseline)
    assert report.model is base
    assert list(compare(before, describe(base))) == []
    assert repairable(base, baseline) == []


def test_a_fallback_whose_head_stayed_off_is_switched_on() -> None:
    """Huggingface/peft#3716: the fallback's copy of the head stays inactive and frozen."""
    handle = two_adapters("head-on-first", "peft")
    handle.activate("b")
    handle.model.delete_adapter("b")
    report = repair(handle.model)
    expected = one_adapter("head-on-first", "peft").model
    assert torch.equal(output(report.model), output(expected))
    assert repairable(report.model) == []
    assert report.model.base_model.model.lm_head.modules_to_save["a"].weight.requires_grad


def test_a_ghost_of_a_failed_add_goes() -> None:
    model = get_peft_model(llama(), lora(("q_proj",)), adapter_name="a")
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            options = {"r": 2, "lora_alpha": 2, "lora_dropout": 0.0, "init_lora_weights": True, "use_rslora": False}
            try:
                module.update_layer("ghost", config=lora(("q_proj",)), **options)
            except TypeError:
                module.update_layer("ghost", **options)
    assert any(finding.startswith("PV103") for finding in repairable(model))
    report = repair(model)
    assert repairable(report.model) == []
    assert not any("ghost" in path for path, _ in report.model.named_parameters())


def test_a_model_without_adapters_has_nothing_to_repair() -> None:
    model = llama()
    report = repair(model)
    assert report.model is model
    assert report.actions == ()
    assert str(report) == "Nothing to repair"


def test_a_stale_handle_is_brought_in_line() -> None:
    handle = two_adapters("linear", "peft")
    handle.model.active_adapter = "gone"
    assert repairable(handle.model)
    repair(handle.model)
    assert handle.model.active_adapter == "a"
    assert repairable(handle.model) == []


def test_an_adapter_lost_while_merged_is_said() -> None:
    handle = two_adapters("linear", "peft")
    handle.model.merge_adapter(["b"])
    for module in handle.model.modules():
        if isinstance(module, BaseTunerLayer):
            del module.lora_A["b"], module.lora_B["b"], module.lora_dropout["b"]
    handle.model.peft_config.pop("b")
    with warnings.catch_warnings():
        report = repair(handle.model)
    assert "deleted while merged" in report.warnings[0]


def test_a_config_that_unloading_forgot_goes_and_the_flags_come_back() -> None:
    """Up to PEFT 0.18.1 `unload()` leaves `peft_config` on the base model."""
    base = llama()
    baseline, before = capture(base), describe(base)
    model = get_peft_model(base, lora(("q_proj",)))
    registry = model.peft_config
    model.unload()
    base.peft_config = registry
    found = {finding.rule: finding.repairable for finding in audit(base, baseline=baseline)}
    assert found == {"PV204": True, "PV301": True}
    report = repair(base, baseline=baseline)
    assert next(action.detail for action in report.actions) == "config of 'default'"
    assert report.model is base
    assert audit(base, baseline=baseline).clean
    assert list(compare(before, describe(base))) == []


def test_a_forgotten_config_goes_without_a_baseline_too() -> None:
    base = llama()
    model = get_peft_model(base, lora(("q_proj",)))
    registry = model.peft_config
    model.unload()
    base.peft_config = registry
    report = repair(base)
    assert "peft_config" not in vars(base)
    assert "base parameters have requires_grad=False" in report.warnings[0]


def test_names_in_plain_dictionaries_go() -> None:
    handle = two_adapters("linear", "peft")
    layers = [module for module in handle.model.modules() if isinstance(module, BaseTunerLayer)]
    before = [(dict(layer.scaling), dict(layer.r)) for layer in layers]
    for layer in layers:
        layer.scaling["gone"], layer.r["gone"] = 1.0, 2
    assert {finding.partition(" ")[0] for finding in repairable(handle.model)} == {"PV104"}
    report = repair(handle.model)
    assert {action.detail for action in report.actions} == {"mentioned in r, scaling"}
    assert repairable(handle.model) == []
    assert [(layer.scaling, layer.r) for layer in layers] == before


def test_a_base_with_the_keys_of_wrappers_gets_its_own_back() -> None:
    base = llama()
    keys = list(base.state_dict())
    model = get_peft_model(base, lora(("q_proj",)))
    model.delete_adapter("default")
    assert list(base.state_dict()) != keys
    assert "PV402" in {finding.rule for finding in audit(model) if finding.repairable}
    report = repair(model)
    assert list(base.state_dict()) == keys
    assert "PV402" not in {finding.rule for finding in report.audit}


def test_a_wrapper_with_nothing_but_a_shared_store_comes_off() -> None:
    """VeRA's projections are in every layer, under the names of adapters that the layer has nothing else of."""
    model = get_peft_model(llama(), VeraConfig(r=2, target_modules=["q_proj", "o_proj"]), adapter_name="a")
    model.add_adapter("b", VeraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    model.set_adapter("b")
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.delete_adapter("a")
    del model.peft_config["a"]
    report = repair(model)
    attention = report.model.base_model.model.model.layers[0].self_attn
    assert type(attention.o_proj) is torch.nn.Linear
    assert type(attention.v_proj) is not torch.nn.Linear
    assert audit(report.model).findings == ()


def test_names_of_buffers_that_are_gone_go() -> None:
    config = {"r": 2, "target_modules": ["q_proj"], "save_projection": False}
    model = get_peft_model(llama(), VeraConfig(**config), adapter_name="a")
    model.add_adapter("b", VeraConfig(**config))
    model.delete_adapter("b")
    assert "PV104" in {finding.rule for finding in audit(model)}
    repair(model)
    assert audit(model).findings == ()
