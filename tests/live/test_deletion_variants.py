"""LoRA's variants that change the base model: what deletion brings back, and what it says it cannot."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model

from peftviz.live.removal.deletion import delete_adapter
from peftviz.live.snapshots.capture import capture
from tests.live.zoo import ATTENTION, CHANGING, Handle, adapter_alone, answer, both_adapters, lora, output
from tests.live.zoo.models import llama, llama_with_biases
from tests.oracle import compare, describe, differences

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("active", [False, True], ids=["inactive", "active"])
def test_an_initialiser_that_wrote_into_the_base_is_said_and_nothing_else_differs(name: str, active: bool) -> None:
    case = CHANGING[name]
    handle = both_adapters(case, "peft")
    if active:
        handle.activate("b")
    report = delete_adapter(handle.model, "b")
    assert [warning for warning in report.warnings if case.changes_base in warning]
    found = differences(handle.model, adapter_alone(case, "peft").model)
    assert found, "the base is unchanged: the warning would be wrong"
    assert [
        entry for entry in found if "self_attn.q_proj.base_layer.weight" not in entry and "o_proj.weight" not in entry
    ] == []


@pytest.mark.parametrize("bias", ["lora_only", "all"])
def test_trained_biases_are_said_and_nothing_else_differs(bias: str) -> None:
    base = llama_with_biases()
    before = describe(base)
    baseline = capture(base)
    model = get_peft_model(base, lora(("q_proj",), bias=bias))
    for path, parameter in model.named_parameters():
        if path.endswith("bias") and parameter.requires_grad:
            parameter.data += 1
    report = delete_adapter(model, "default", baseline=baseline)
    assert [warning for warning in report.warnings if f"bias='{bias}' of 'default'" in warning]
    found = list(compare(before, describe(base)))
    assert found
    assert [entry for entry in found if ".bias: " not in entry] == []


def test_replicated_layers_stay_and_are_said() -> None:
    base = llama()
    model = get_peft_model(base, lora(("q_proj",), layer_replication=[(0, 2), (1, 2)]))
    assert len(base.model.layers) == 3
    report = delete_adapter(model, "default")
    assert [warning for warning in report.warnings if "layer_replication of 'default'" in warning]
    assert len(base.model.layers) == 3
    assert not any(type(module).__module__.startswith("peft") for module in base.modules())


@pytest.mark.parametrize("way", ATTENTION.ways)
def test_attention_of_pytorch(way: str) -> None:
    handle = both_adapters(ATTENTION, way)
    handle.activate("b")
    delete_adapter(handle.model, "b")
    expected = adapter_alone(ATTENTION, way)
    assert differences(handle.model, expected.model) == []
    assert torch.allclose(answer(handle, ATTENTION), answer(expected, ATTENTION), atol=1e-6)


@pytest.mark.parametrize("way", ATTENTION.ways)
def test_attention_of_pytorch_when_the_last_goes(way: str) -> None:
    base = ATTENTION.build()
    baseline, before = capture(base), describe(base)
    handle = Handle(way, base)
    handle.add("a", ATTENTION.first(), seed=1)
    output(handle.model)  # its forward merges, calls the base and unmerges: weights drift by rounding
    report = delete_adapter(handle.model, "a", baseline=baseline)
    assert report.model is base
    after = describe(base)
    assert {key for key in before if key.endswith("_parameters") and sorted(before[key]) != sorted(after[key])} == set()
    found = [entry for entry in compare(before, after) if "_parameters: " not in entry]
    assert [entry for entry in found if "weight" not in entry and "bias" not in entry] == []
    assert torch.allclose(output(base), output(ATTENTION.build()), atol=1e-6)


def test_a_merged_adapter_in_bfloat16_comes_out_within_its_precision() -> None:
    handle = Handle("peft", llama().to(torch.bfloat16))
    for seed, name in enumerate("ab"):
        handle.add(name, lora(("q_proj", "v_proj")), seed=seed)
    handle.activate("a")
    expected = output(handle.model)
    handle.model.merge_adapter(["b"])
    delete_adapter(handle.model, "b", merged="unmerge")
    assert torch.allclose(output(handle.model), expected, atol=2e-2)
