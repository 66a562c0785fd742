"""The ways in by which a model got its adapters, and what holds it."""

from __future__ import annotations

import pytest
import torch
from peft import LoHaConfig, PeftMixedModel, get_peft_model, inject_adapter_in_model
from peft.tuners.lora import LoraModel

from peftviz.live.removal import elsewhere
from peftviz.live.removal.deletion import delete_adapter
from peftviz.live.sessions.session import watch
from peftviz.live.snapshots.capture import capture
from tests.live.zoo import HEAD, llama, lora, net, output
from tests.oracle import compare, describe, differences

pytestmark = pytest.mark.filterwarnings("ignore")


def mixed() -> PeftMixedModel:
    torch.manual_seed(1)
    model = get_peft_model(net(), lora(("body.0",)), adapter_name="a", mixed=True)
    torch.manual_seed(1)
    return model.eval()


def test_a_mixed_model_loses_one_of_two_methods() -> None:
    model, expected = mixed(), mixed()
    model.add_adapter("b", LoHaConfig(r=2, target_modules=["body.0", "body.2"], init_weights=False))
    model.set_adapter(["a", "b"])
    report = delete_adapter(model, "b")
    assert report.model is model
    assert report.plan.handle == "PeftMixedModel"
    assert report.plan.next_active == ("a",)
    found = differences(model, expected)  # what a mixed model adds later it notes from its own root
    assert [entry for entry in found if "targeted_module_names" not in entry] == []
    assert model.base_model.targeted_module_names == ["body.0", "base_model.model.body.0"]
    assert torch.equal(output(model), output(expected))


def test_a_mixed_model_loses_its_last_adapter() -> None:
    base = net()
    baseline, before = capture(base), describe(base)
    model = get_peft_model(base, lora(("body.0",)), adapter_name="a", mixed=True)
    model.add_adapter("b", LoHaConfig(r=2, target_modules=["body.0"], init_weights=False))
    for name in "ab":
        report = delete_adapter(model, name, baseline=baseline)
    assert report.model is base
    assert list(compare(before, describe(base))) == []
    assert torch.equal(output(model), output(base))


def test_a_bare_tuner() -> None:
    base = net()
    before = describe(base)
    baseline = capture(base)
    tuner = LoraModel(base, lora(("body.0",)), "a")
    tuner.peft_config["b"] = lora(("body.0", "body.2"))
    tuner.inject_adapter(base, "b")
    report = delete_adapter(tuner, "b", baseline=baseline)
    assert report.model is tuner
    assert list(tuner.peft_config) == ["a"]
    assert type(base.body[2]) is torch.nn.Linear
    report = delete_adapter(tuner, "a", baseline=baseline)
    assert report.model is base
    assert list(compare(before, describe(base))) == []


def test_the_functional_interface() -> None:
    functional = pytest.importorskip("peft.functional")
    base, expected = net(), net()
    for seed, name in enumerate("ab"):
        for model in (base, expected) if name == "a" else (base,):
            torch.manual_seed(seed)
            inject_adapter_in_model(lora(("body.0",)), model, adapter_name=name)
    functional.set_adapter(base, "b")
    delete_adapter(base, "b")
    functional.set_adapter(expected, "a")
    assert differences(base, expected) == []


def test_a_watched_base() -> None:
    base = llama()
    before = describe(base)
    session = watch(base, display=False)
    model = get_peft_model(base, lora(("q_proj",), **HEAD))
    model.add_adapter("b", lora(("v_proj",)))
    for name in ("default", "b"):
        report = session.delete_adapter(name)
    session.close()
    assert report.model is base
    assert list(compare(before, describe(base))) == []


class Pipeline:
    """Holds several models and knows nothing of modules, as a diffusion pipeline does."""

    def __init__(self) -> None:
        self.text_encoder = llama()
        self.unet = net()

    def add(self, name: str) -> None:
        for seed, (model, targets) in enumerate(((self.text_encoder, ("q_proj",)), (self.unet, ("conv", "body.0")))):
            torch.manual_seed(seed)
            inject_adapter_in_model(lora(targets), model, adapter_name=name)


def test_a_pipeline_of_several_models() -> None:
    pipeline, expected = Pipeline(), Pipeline()
    for name in "ab":
        pipeline.add(name)
    expected.add("a")
    for model in (pipeline.text_encoder, pipeline.unet):
        delete_adapter(model, "b")
    assert differences(pipeline.text_encoder, expected.text_encoder) == []
    assert differences(pipeline.unet, expected.unet) == []


def nested() -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    base = llama()
    inner = get_peft_model(base, lora(("q_proj",)), adapter_name="inner")
    return base, inner, get_peft_model(inner, lora(("v_proj",)), adapter_name="outer")


@pytest.mark.parametrize("order", [("outer", "inner"), ("inner", "outer")], ids=["outer first", "inner first"])
def test_a_model_inside_a_model(order: tuple[str, str]) -> None:
    base, _, outer = nested()
    plain = output(llama())
    model = outer
    for name in order:
        report = delete_adapter(model, name)
        model = report.model
    assert model is base
    assert not any(type(module).__module__.startswith("peft") for module in base.modules())
    assert torch.equal(output(base), plain)
    assert torch.equal(output(outer), plain)


@pytest.mark.parametrize("through", ["first", "second", "base"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_second_handle_on_one_base_is_not_left_lying(through: str, name: str) -> None:
    base = llama()
    plain = output(llama())
    first = get_peft_model(base, lora(("q_proj",)), adapter_name="a")
    second = get_peft_model(base, lora(("v_proj",)), adapter_name="b")
    handles = {"a": first, "b": second}
    stays = "ab".replace(name, "")
    report = delete_adapter({"first": first, "second": second, "base": base}[through], name)
    assert len([warning for warning in report.warnings if "another handle" in warning]) == 1
    for handle in handles.values():  # PEFT lets both share the configs
        assert list(handle.peft_config) == [stays]
        assert handle.active_adapters == [stays]
    only = get_peft_model(llama(), lora(("q_proj",) if stays == "a" else ("v_proj",)), adapter_name=stays)
    only.load_state_dict(handles[stays].state_dict())
    assert torch.equal(output(handles[stays]), output(only.eval()))
    assert torch.equal(output(handles[name]), output(handles[stays]))
    report = delete_adapter(handles[stays], stays)
    assert report.model is base
    for model in (base, first, second):
        assert torch.equal(output(model), plain)


@pytest.mark.parametrize("saved", [None, ["lm_head"]], ids=["layers only", "a wrapper right under the base"])
def test_a_base_that_nobody_else_holds_costs_no_look_at_the_heap(
    saved: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = llama()
    base.register_forward_hook(lambda *_: None)
    model = get_peft_model(base, lora(("q_proj",), modules_to_save=saved), adapter_name="a")
    del base
    model.add_adapter("b", lora(("v_proj",)))
    looks = []
    monkeypatch.setattr(elsewhere.gc, "get_objects", lambda: looks.append(1) or [])
    delete_adapter(model, "b")
    assert looks == []
    base = model.get_base_model()
    delete_adapter(model, "a")
    assert looks == [1]
    assert output(base).shape == (1, 3, 32)
