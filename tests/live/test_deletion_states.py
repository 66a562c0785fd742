"""The states in which an adapter can be deleted, on methods of different build."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from safetensors import SafetensorError

from peftviz.errors import AdapterError
from peftviz.live.removal.deletion import delete_adapter
from peftviz.live.removal.repair import repair
from peftviz.live.snapshots.capture import capture
from peftviz.views.inspector.wording import said
from tests.live.zoo import (
    HEAD,
    METHODS,
    Case,
    Handle,
    adapter_alone,
    answer,
    both_adapters,
    case_of,
    llama,
    lora,
    two_adapters,
)
from tests.oracle import differences, photograph

pytestmark = pytest.mark.filterwarnings("ignore")

SOME = [
    name
    for name in ("LORA-heads", "VERA-plain", "IA3-heads", "LOHA-plain", "OFT-plain", "LN_TUNING-plain", "BOFT-plain")
    if name in METHODS
]
"""Methods that can be merged: additive, multiplicative, with a shared store, with modules that swap places."""

FALLBACKS = {
    "with a head": (lora(("q_proj",), **HEAD), lora(("q_proj", "v_proj"))),
    "without a head": (lora(("q_proj",)), lora(("q_proj", "v_proj"), **HEAD)),
    "with other targets": (lora(("k_proj", "up_proj")), lora(("q_proj", "v_proj"), **HEAD)),
}


def layers(model: torch.nn.Module) -> list[BaseTunerLayer]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def merge(model: Any, names: list[str], *, safe: bool) -> None:
    """`merge_adapter`; where it documents `safe_merge` and does not take it, as up to PEFT 0.15, each layer."""
    if not safe:
        model.merge_adapter(names)
    elif takes_safe_merge(BaseTuner.merge_adapter):
        model.merge_adapter(names, safe_merge=True)
    else:
        for layer in layers(model):
            if not takes_safe_merge(type(layer).merge):
                pytest.skip(f"PEFT's {type(layer).__name__} cannot merge safely")
            layer.merge(safe_merge=True, adapter_names=names)


def takes_safe_merge(function: Any) -> bool:
    return "safe_merge" in inspect.signature(function).parameters


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("name", FALLBACKS)
def test_the_fallback(name: str, training: bool) -> None:
    first, second = FALLBACKS[name]
    case = Case(llama, lambda: first, lambda: second)
    handle, expected = both_adapters(case, "peft"), adapter_alone(case, "peft")
    handle.activate("b")
    handle.model.train(training)
    expected.model.train(training)
    delete_adapter(handle.model, "b")
    assert differences(handle.model, expected.model) == []
    assert torch.equal(answer(handle, case), answer(expected, case))


@pytest.mark.parametrize("others", [(), ("a",)], ids=["alone", "with others"])
@pytest.mark.parametrize("safe", [False, True], ids=["merge", "safe_merge"])
@pytest.mark.parametrize("name", SOME)
def test_a_merged_adapter_is_refused_or_taken_out(name: str, safe: bool, others: tuple[str, ...]) -> None:
    case = case_of(name)
    handle, expected = two_adapters(name, "peft"), two_adapters(name, "peft")
    delete_adapter(expected.model, "b")
    try:
        merge(handle.model, [*others, "b"], safe=safe)
        if others:
            merge(expected.model, list(others), safe=safe)
    except ValueError as error:
        pytest.skip(f"PEFT refuses: {error}")
    before = photograph(handle.model)
    with pytest.raises(AdapterError, match="is merged into the base weights"):
        delete_adapter(handle.model, "b")
    assert photograph(handle.model) == before
    report = delete_adapter(handle.model, "b", merged="unmerge")
    assert {tuple(layer.merged_adapters) for layer in layers(handle.model)} == {others}
    found = [entry for entry in differences(report.model, expected.model) if "weight" not in entry]
    assert [entry for entry in found if "requires_grad" in entry or "class" in entry or "children" in entry] == []
    assert torch.allclose(answer(handle, case), answer(expected, case), atol=1e-5)


@pytest.mark.parametrize(
    "name", [name for name in METHODS if name.endswith("-plain") and METHODS[name].ways != ("peft",)]
)
def test_disabled_adapters_stay_disabled(name: str) -> None:
    handle, expected = two_adapters(name, "peft"), adapter_alone(case_of(name), "peft")
    handle.activate("b")
    for model in (handle.model, expected.model):
        model.base_model.disable_adapter_layers()
    delete_adapter(handle.model, "b")
    assert all(layer.disable_adapters for layer in layers(handle.model))
    assert torch.equal(answer(handle, case_of(name)), answer(expected, case_of(name)))


def test_adaption_prompts_that_are_disabled_stay_out() -> None:
    try:
        handle = two_adapters("ADAPTION_PROMPT-plain", "peft")
    except AttributeError as error:
        if "LlamaAttention" not in str(error):
            raise
        pytest.skip(f"PEFT's adaption prompts are for older transformers: {error}")
    expected = adapter_alone(METHODS["ADAPTION_PROMPT-plain"], "peft")
    handle.activate("b")
    for model in (handle.model, expected.model):
        model.base_model.disable_adapter_layers()
    delete_adapter(handle.model, "b")
    assert differences(handle.model, expected.model) == []
    for model in (handle.model, expected.model):
        model.base_model.enable_adapter_layers()
    assert differences(handle.model, expected.model) == []


@pytest.mark.parametrize("name", ["LORA-heads", "IA3-plain", "P_TUNING-plain", "VERA-plain"])
def test_an_adapter_for_inference_leaves_its_fallback_frozen(name: str) -> None:
    handle = two_adapters(name, "peft")
    handle.activate("b")
    handle.model.requires_grad_(False)
    for config in handle.model.peft_config.values():
        config.inference_mode = True
    delete_adapter(handle.model, "b")
    assert not any(parameter.requires_grad for parameter in handle.model.parameters())


@pytest.mark.parametrize("name", [name for name in SOME if name.endswith("plain") and not name.startswith("LN_")])
def test_of_several_active_ones_the_other_stays_active(name: str) -> None:
    handle, expected = two_adapters(name, "peft"), adapter_alone(case_of(name), "peft")
    handle.model.base_model.set_adapter(["a", "b"])
    report = delete_adapter(handle.model, "b")
    assert report.plan.next_active == ("a",)
    assert torch.equal(answer(handle, case_of(name)), answer(expected, case_of(name)))


ODD = (
    "é",
    "日本",
    "a b",
    "ab",
    "lora_A",
    "weight",
    "r",
    "scaling",
    "model",
    "base_layer",
    "modules_to_save",
    "default",
)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("method", ["LORA-heads", "IA3-heads", "PROMPT_TUNING-plain"])
def test_a_name_that_is_odd(method: str, name: str) -> None:
    """Unicode, spaces, the beginning of another, the name of a module or attribute: what PEFT accepts goes cleanly."""
    case = case_of(method)
    handle = Handle("peft", case.build())
    handle.add("a", case.first(), seed=1)
    try:
        handle.add(name, case.second(), seed=2)
        handle.activate(name)
        handle.activate("a")
    except (ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        pytest.skip(f"PEFT refuses {name!r}: {type(error).__name__}")
    delete_adapter(handle.model, name)
    assert differences(handle.model, adapter_alone(case, "peft").model) == []


def test_an_adapter_whose_addition_failed_half_way_goes() -> None:
    """A target that the method cannot wrap is met after others are wrapped: PEFT takes the config back, no more."""
    case = case_of("LORA-plain")
    handle, expected = adapter_alone(case, "peft"), adapter_alone(case, "peft")
    with pytest.raises(ValueError, match="not supported"):
        handle.model.add_adapter("ghost", lora(("q_proj", "act_fn")))
    assert "ghost" not in handle.model.peft_config
    assert any("ghost" in path.split(".") for path, _ in handle.model.named_modules())
    delete_adapter(handle.model, "ghost")
    assert differences(handle.model, expected.model) == []
    repaired = adapter_alone(case, "peft")
    with pytest.raises(ValueError, match="not supported"):
        repaired.model.add_adapter("ghost", lora(("q_proj", "act_fn")))
    repair(repaired.model)
    assert differences(repaired.model, expected.model) == []


def test_a_target_that_the_method_cannot_wrap_leaves_the_list_with_the_last_adapter() -> None:
    """Up to 0.18 PEFT lists a module before it tries to adapt it, and leaves no other trace when none was adapted."""
    handle = adapter_alone(case_of("LORA-plain"), "peft")
    with pytest.raises(ValueError, match="not supported"):
        handle.model.add_adapter("ghost", lora(("act_fn",)))
    tuner = handle.model.base_model
    delete_adapter(handle.model, "a")
    assert tuner.targeted_module_names == []


def test_an_adapter_whose_loading_failed_half_way_goes(tmp_path) -> None:
    case = case_of("LORA-heads")
    other = adapter_alone(case, "peft")
    other.model.save_pretrained(tmp_path)
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"cut")
    handle, expected = adapter_alone(case, "peft"), adapter_alone(case, "peft")
    with pytest.raises(Exception, match=r"."):
        handle.model.load_adapter(tmp_path / "a", adapter_name="ghost")
    assert any("ghost" in path.split(".") for path, _ in handle.model.named_modules())
    froze = frozen(handle.model)
    report = delete_adapter(handle.model, "ghost")
    assert bool(report.warnings) == bool(froze)
    for count, warning in zip([len(froze)], report.warnings, strict=bool(froze)):
        assert warning.startswith(f"requires_grad is False for {count} of {count} parameters of 'a'")
        assert said(warning, "phrase.warn.") is not None
        assert frozen(handle.model) == froze, "without a baseline nobody can tell"
        handle.model.set_adapter("a")
    assert differences(handle.model, expected.model) == []


def frozen(model: torch.nn.Module) -> list[str]:
    return [path for path, parameter in model.named_parameters() if ".a." in path and not parameter.requires_grad]


def frozen_by_loading(folder: Path, whole: bool) -> tuple[Any, Any]:
    """A model that trains `a`, a snapshot of it, and `b` loaded, whole or half-way; nothing of `a` trains any more.

    PEFT up to 0.18 freezes it then, newer PEFT does not: here it is done.
    """
    handle = adapter_alone(case_of("LORA-heads"), "peft")
    baseline = capture(handle.model)
    handle.model.save_pretrained(folder)
    if not whole:
        (folder / "a" / "adapter_model.safetensors").write_bytes(b"cut")
    with contextlib.suppress(SafetensorError):
        handle.model.load_adapter(folder / "a", adapter_name="b")
    for path, parameter in handle.model.named_parameters():
        if ".a." in path:
            parameter.requires_grad = False
    return handle, baseline


@pytest.mark.parametrize("whole", [True, False], ids=["loaded", "failed half-way"])
def test_an_active_adapter_that_loading_another_froze_trains_again_with_a_baseline(tmp_path, whole: bool) -> None:
    handle, baseline = frozen_by_loading(tmp_path, whole)
    count = len(frozen(handle.model))
    report = delete_adapter(handle.model, "b", baseline=baseline)
    assert count > 0
    assert f"requires_grad of {count} parameters, as in the baseline" in [act.detail for act in report.plan.actions]
    assert report.warnings == ()
    assert differences(handle.model, adapter_alone(case_of("LORA-heads"), "peft").model) == []


def test_repair_lets_it_train_again_when_a_ghost_goes(tmp_path) -> None:
    handle, baseline = frozen_by_loading(tmp_path, whole=False)
    count = len(frozen(handle.model))
    del handle.model.peft_config["b"]
    report = repair(handle.model, baseline=baseline)
    assert f"requires_grad of {count} parameters, as in the baseline" in [act.detail for act in report.actions]
    assert differences(handle.model, adapter_alone(case_of("LORA-heads"), "peft").model) == []


def test_what_was_frozen_at_the_baseline_or_is_for_inference_stays_frozen(tmp_path) -> None:
    handle, _ = frozen_by_loading(tmp_path, whole=False)
    report = delete_adapter(handle.model, "b", baseline=capture(handle.model))
    assert report.warnings == ()
    assert frozen(handle.model)
    handle, baseline = frozen_by_loading(tmp_path, whole=False)
    handle.model.peft_config["a"].inference_mode = True
    report = delete_adapter(handle.model, "b", baseline=baseline)
    assert report.warnings == ()
    assert frozen(handle.model)


def test_a_copy_that_another_adapter_adapts_because_of_its_name() -> None:
    """PEFT finds the copy of an adapter that has the name of a target, and adapts it.

    Older PEFT takes all else that the adapter keeps under its name for a target too, and fails at the first.
    """
    base = llama()
    model = get_peft_model(base, lora(("q_proj",), **HEAD), adapter_name="q_proj")
    try:
        model.add_adapter("a", lora(("q_proj",)))
    except ValueError as error:
        dropout = model.base_model.model.model.layers[0].self_attn.q_proj.lora_dropout["q_proj"]
        if f"Target module {dropout} is not supported" not in str(error):
            raise
        pytest.skip("PEFT takes the adapter's own dropout for a target, too")
    assert "lm_head.modules_to_save.q_proj" in model.base_model.targeted_module_names
    model.set_adapter("a")
    delete_adapter(model, "q_proj")
    assert model.base_model.targeted_module_names == [f"model.layers.{row}.self_attn.q_proj" for row in range(2)]
    assert type(base.lm_head) is torch.nn.Linear
