"""Handles of PEFT's that lie inside modules of other libraries: a value head, a wrapper, a model of several models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraModel

import peftviz
from peftviz.errors import AdapterError
from peftviz.live.removal.deletion import delete_adapter
from tests.live.faults import assert_every_fault_is_undone
from tests.live.zoo import llama, lora, output
from tests.oracle import compare, describe, differences, photograph

pytestmark = pytest.mark.filterwarnings("ignore")


class Pair(torch.nn.Module):
    """Two models that answer together."""

    def __init__(self) -> None:
        super().__init__()
        self.text = llama()
        self.others = torch.nn.ModuleList([llama()])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.text(ids).logits + self.others[0](ids).logits


def pair() -> Pair:
    return Pair().eval()


def handle_on(base: torch.nn.Module, name: str, *targets: str, **options: Any) -> torch.nn.Module:
    torch.manual_seed(1)
    return get_peft_model(base, lora(targets or ("q_proj",), modules_to_save=["lm_head"]), name, **options).eval()


HANDLES: dict[str, Callable[[torch.nn.Module], torch.nn.Module]] = {
    "PeftModel": lambda base: handle_on(base, "a"),
    "PeftMixedModel": lambda base: get_peft_model(base, lora(("q_proj",)), "a", mixed=True).eval(),
    "tuner": lambda base: LoraModel(base, lora(("q_proj",)), "a").eval(),
}


@pytest.mark.parametrize("kind", HANDLES)
@pytest.mark.parametrize("through", ["delete", "unload", "repair"])
def test_the_base_takes_the_place_of_a_handle_without_adapters(kind: str, through: str) -> None:
    model = pair()
    baseline, before = peftviz.capture(model), describe(model)
    model.text = handle = HANDLES[kind](model.text)
    if through == "delete":
        report: Any = delete_adapter(model, "a", baseline=baseline)
    elif through == "unload":
        report = peftviz.unload(model, baseline=baseline)
    else:
        handle.delete_adapter("a")
        report = peftviz.repair(model, baseline=baseline)
    assert report.model is model
    assert list(compare(before, describe(model))) == []
    assert peftviz.audit(model, baseline=baseline).clean
    assert torch.equal(output(model), output(pair()))


def test_a_handle_that_keeps_an_adapter_stays_and_another_goes() -> None:
    model, expected = pair(), pair()
    for one in (model, expected):
        one.others[0] = handle_on(one.others[0], "b", "v_proj")
    base = model.text
    model.text = handle = handle_on(base, "a")
    report = delete_adapter(model, "a")
    assert model.text is base
    assert type(model.others[0]) is PeftModel
    assert report.audit.clean
    expected.text.requires_grad_(False)  # as PEFT does to a base, and there is no baseline
    assert differences(model, expected) == []
    assert torch.equal(output(model), output(expected))
    assert torch.equal(output(handle), output(base))


def test_one_name_in_two_handles_goes_from_both() -> None:
    model = pair()
    baseline, before = peftviz.capture(model), describe(model)
    model.text = handle_on(model.text, "a")
    model.text.add_adapter("b", lora(("v_proj",)))
    model.others[0] = handle_on(model.others[0], "a")
    delete_adapter(model, "a", baseline=baseline)
    assert list(model.text.peft_config) == ["b"]
    assert type(model.others[0]) is type(llama())
    delete_adapter(model, "b", baseline=baseline)
    assert list(compare(before, describe(model))) == []


def test_models_with_adapters_of_their_own_lose_theirs_one_by_one() -> None:
    model = pair()
    baseline, before = peftviz.capture(model), describe(model)
    model.text.add_adapter(lora(("q_proj",)), adapter_name="a")
    middle = describe(model)
    model.others[0].add_adapter(lora(("v_proj",)), adapter_name="b")
    delete_adapter(model, "b", baseline=baseline)
    model.others[0].requires_grad_(True)  # flags come back with the last adapter of all
    assert list(compare(middle, describe(model))) == []
    delete_adapter(model, "a", baseline=baseline)
    assert list(compare(before, describe(model))) == []


def test_a_handle_around_a_handle_inside() -> None:
    model = pair()
    baseline, before = peftviz.capture(model), describe(model)
    model.text = handle_on(model.text, "inner")
    outer = handle_on(model, "outer", "v_proj")
    assert delete_adapter(outer, "inner", baseline=baseline).model is outer
    assert delete_adapter(outer, "outer", baseline=baseline).model is model
    assert list(compare(before, describe(model))) == []


def test_a_saved_baseline_knows_the_flags_below_a_handle_inside(tmp_path) -> None:
    model = pair()
    model.text.lm_head.requires_grad_(False)
    path = peftviz.capture(model).save(tmp_path / "before.pvz")
    before = describe(model)
    model.text = handle_on(model.text, "a")
    report = delete_adapter(model, "a", baseline=peftviz.load(path))
    assert list(compare(before, describe(model))) == []
    assert report.warnings == ()


def test_the_handle_stays_on_request() -> None:
    model = pair()
    model.text = handle_on(model.text, "a")
    report = delete_adapter(model, "a", unwrap=False)
    assert report.model is model
    assert type(model.text) is PeftModel
    assert torch.equal(output(model), output(pair()))


def test_a_fault_at_every_mutation_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pair()
    base = model.text
    model.text = handle_on(base, "a")
    assert_every_fault_is_undone(model, lambda: delete_adapter(model, "a"), monkeypatch)
    assert model.text is base


@pytest.mark.parametrize("other", ["a", "c"])
def test_models_in_which_different_adapters_become_active_are_done_one_by_one(other: str) -> None:
    model = pair()
    model.text = handle_on(model.text, "a")
    model.text.add_adapter("b", lora(("v_proj",), modules_to_save=["lm_head"]))
    model.text.set_adapter("b")
    model.others[0] = handle_on(model.others[0], other)
    before = photograph(model)
    with pytest.raises(AdapterError, match="'b' is active in 'text"):
        delete_adapter(model, "b")
    assert photograph(model) == before
    delete_adapter(model.text, "b")
    assert model.text.active_adapters == ["a"]
    assert model.others[0].active_adapters == [other]
    assert peftviz.audit(model).clean


def test_models_in_which_the_same_adapter_becomes_active_are_done_at_once() -> None:
    model, expected = pair(), pair()
    for one in (model, expected):
        one.text, one.others[0] = handle_on(one.text, "a"), handle_on(one.others[0], "a")
    for handle in (model.text, model.others[0]):
        handle.add_adapter("b", lora(("v_proj",)))
        handle.set_adapter("b")
    delete_adapter(model, "b")
    assert differences(model, expected) == []
