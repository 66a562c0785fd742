"""What deletion means where PEFT leaves it open, and what is refused."""

from __future__ import annotations

import functools
import gc
import weakref

import pytest
import torch
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from peftviz.auditing import audit
from peftviz.errors import AdapterError, ModelError
from peftviz.live.removal.deletion import delete_adapter, plan_deletion
from tests.live.zoo import HEAD, Handle, llama, lora, net, one_adapter, output, two_adapters
from tests.oracle import describe, differences, photograph

pytestmark = pytest.mark.filterwarnings("ignore")


def three_adapters() -> Handle:
    """a with a head, b without, c with a head; a active."""
    handle = Handle("peft", llama())
    handle.add("a", lora(("q_proj",), **HEAD), seed=1)
    handle.add("b", lora(("q_proj", "v_proj")), seed=2)
    handle.add("c", lora(("v_proj",), **HEAD), seed=3)
    handle.activate("a")
    return handle


def flags(model: torch.nn.Module) -> dict[str, bool]:
    return {path: parameter.requires_grad for path, parameter in model.named_parameters()}


def layers(model: torch.nn.Module) -> list[BaseTunerLayer]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


# Errors


@pytest.mark.parametrize("wrong", [None, 3, "model", torch.nn.Linear, torch.zeros(1)])
def test_what_is_no_module_is_refused(wrong: object) -> None:
    with pytest.raises(ModelError, match=r"torch\.nn\.Module"):
        delete_adapter(wrong, "a")


def test_a_model_without_adapters_is_refused() -> None:
    with pytest.raises(AdapterError, match="has no adapters"):
        plan_deletion(net(), "a")


def test_an_unknown_adapter_names_near_ones() -> None:
    handle = Handle("peft", net())
    handle.add("summaries", lora(("body.0",)), seed=1)
    handle.add("x", lora(("body.2",)), seed=2)
    before = photograph(handle.model)
    with pytest.raises(AdapterError, match="Did you mean 'summaries'"):
        delete_adapter(handle.model, "sumaries")
    assert photograph(handle.model) == before


def test_a_merged_adapter_is_refused_and_nothing_changed() -> None:
    handle = two_adapters("linear", "peft")
    handle.model.merge_adapter(["b"])
    before = photograph(handle.model)
    with pytest.raises(AdapterError, match="merged into the base weights of 4 modules"):
        delete_adapter(handle.model, "b")
    assert photograph(handle.model) == before


def test_an_unknown_word_for_merged_is_refused() -> None:
    with pytest.raises(ValueError, match="refuse"):
        delete_adapter(two_adapters("linear", "peft").model, "b", merged="ignore")


# Merged


def test_a_merged_adapter_is_taken_out_first() -> None:
    handle = two_adapters("linear", "peft")
    handle.model.merge_adapter(["b"])
    delete_adapter(handle.model, "b", merged="unmerge")
    assert [layer.merged_adapters for layer in layers(handle.model)] == [[]] * 4
    assert torch.allclose(output(handle.model), output(one_adapter("linear", "peft").model), atol=1e-6)


def test_the_others_are_merged_again() -> None:
    handle = two_adapters("linear", "peft")
    handle.model.merge_adapter(["a", "b"])
    delete_adapter(handle.model, "b", merged="unmerge")
    assert [layer.merged_adapters for layer in layers(handle.model)] == [["a"]] * 4
    assert torch.allclose(output(handle.model), output(one_adapter("linear", "peft").model), atol=1e-6)
    handle.model.unmerge_adapter()
    assert torch.allclose(output(handle.model), output(one_adapter("linear", "peft").model), atol=1e-6)


def test_an_adapter_beside_a_merged_one_is_deleted_plainly() -> None:
    handle = two_adapters("linear", "peft")
    handle.model.merge_adapter(["a"])
    weight = handle.model.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight
    values = weight.clone()
    delete_adapter(handle.model, "b")
    assert torch.equal(weight, values)
    assert [layer.merged_adapters for layer in layers(handle.model)] == [["a"]] * 4


# Activity and flags


def test_the_fallback_is_the_first_in_config_order_and_its_head_comes_back() -> None:
    handle = three_adapters()
    expected = output(handle.model)
    handle.activate("b")
    report = delete_adapter(handle.model, "b")
    assert report.plan.next_active == ("a",)
    assert handle.model.active_adapter == "a"
    assert handle.model.active_adapters == ["a"]
    assert torch.equal(output(handle.model), expected)
    head = handle.model.base_model.model.lm_head.modules_to_save
    assert (head["a"].weight.requires_grad, head["c"].weight.requires_grad) == (True, False)


def test_a_frozen_adapter_leaves_a_frozen_fallback() -> None:
    handle = three_adapters()
    handle.activate("b")
    for path, parameter in handle.model.named_parameters():
        if ".b." in path:
            parameter.requires_grad = False
    before = flags(handle.model)
    delete_adapter(handle.model, "b")
    after = flags(handle.model)
    assert not any(after.values())
    assert set(after) <= {path.replace(".base_layer", "") for path in before} | set(before)


def test_a_fallback_for_inference_stays_frozen() -> None:
    handle = three_adapters()
    handle.activate("b")
    handle.model.peft_config["a"].inference_mode = True
    for path, parameter in handle.model.named_parameters():
        if ".a." in path:
            parameter.requires_grad = False
    delete_adapter(handle.model, "b")
    assert not any(flag for path, flag in flags(handle.model).items() if ".a." in path)


def test_disabled_adapters_stay_disabled() -> None:
    handle = three_adapters()
    base = output(llama())
    handle.activate("b")
    handle.model.base_model.disable_adapter_layers()
    delete_adapter(handle.model, "b")
    assert all(layer.disable_adapters for layer in layers(handle.model))
    assert handle.model.base_model.model.lm_head.disable_adapters
    assert torch.equal(output(handle.model), base)


def test_of_several_active_ones_the_others_stay_active() -> None:
    handle = Handle("peft", llama())
    for seed, name in enumerate("abc"):
        handle.add(name, lora(("q_proj", "v_proj")), seed=seed)
    handle.model.base_model.set_adapter(["a", "b"])
    delete_adapter(handle.model, "b")
    assert [layer.active_adapters for layer in layers(handle.model)] == [["a"]] * 4
    assert handle.model.base_model.active_adapters == ["a"]
    handle.model.base_model.set_adapter(["a", "c"])
    before = flags(handle.model)
    delete_adapter(handle.model, "a")
    assert [layer.active_adapters for layer in layers(handle.model)] == [["c"]] * 4
    assert flags(handle.model) == {path: flag for path, flag in before.items() if ".a." not in path}


def test_a_shared_list_of_active_names_is_not_mutated() -> None:
    handle = two_adapters("linear", "peft")
    shared = ["a", "b"]
    handle.model.base_model.set_adapter(shared)
    delete_adapter(handle.model, "b")
    assert shared == ["a", "b"]


def test_one_of_three_leaves_the_wrapper_of_the_others() -> None:
    handle = three_adapters()
    delete_adapter(handle.model, "c")
    assert list(handle.model.base_model.model.lm_head.modules_to_save) == ["a"]
    delete_adapter(handle.model, "a")
    assert type(handle.model.base_model.model.lm_head) is torch.nn.Linear
    assert handle.model.active_adapter == "b"


def test_targets_are_corrected() -> None:
    handle = two_adapters("other-targets", "peft")
    delete_adapter(handle.model, "a")
    targets = sorted(path.rpartition(".")[2] for path in handle.model.base_model.targeted_module_names)
    assert targets == ["o_proj", "o_proj", "up_proj", "up_proj", "v_proj", "v_proj"]


# Ghosts and leftovers


def test_a_ghost_can_be_deleted() -> None:
    handle = two_adapters("heads", "peft")
    handle.model.peft_config.pop("b")
    delete_adapter(handle.model, "b")
    assert differences(handle.model, one_adapter("heads", "peft").model) == []


def test_with_the_last_adapter_leftovers_of_others_go() -> None:
    base = llama()
    before = describe(base)
    handle = Handle("peft", base)
    handle.add("a", lora(("q_proj",)), seed=1)
    handle.add("b", lora(("v_proj",), **HEAD), seed=2)
    handle.activate("a")
    handle.model.peft_config.pop("b")
    report = delete_adapter(handle.model, "a")
    assert report.plan.names == ("a", "b")
    assert "'b', which no config knows" in str(report.plan)
    assert report.model is base
    base.requires_grad_(True)
    assert describe(base) == before


# Names


@pytest.mark.parametrize("name", ["q_proj", "lora_A", "weight", "default", "b b", "é", "self_attn", "r"])
def test_odd_names(name: str) -> None:
    handle = Handle("peft", llama())
    try:
        handle.add("keep", lora(("q_proj", "v_proj"), **HEAD), seed=1)
        handle.add(name, lora(("q_proj", "o_proj"), **HEAD), seed=2)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        pytest.skip(f"PEFT refuses {name!r}: {type(error).__name__}")
    handle.activate("keep")
    delete_adapter(handle.model, name)
    reference = Handle("peft", llama())
    reference.add("keep", lora(("q_proj", "v_proj"), **HEAD), seed=1)
    reference.activate("keep")
    assert differences(handle.model, reference.model) == []


def test_a_name_that_begins_another_is_left_alone() -> None:
    handle = Handle("peft", llama())
    handle.add("ab", lora(("q_proj",), **HEAD), seed=1)
    handle.add("a", lora(("q_proj",), **HEAD), seed=2)
    handle.activate("ab")
    delete_adapter(handle.model, "a")
    assert list(handle.model.peft_config) == ["ab"]
    assert list(handle.model.base_model.model.lm_head.modules_to_save) == ["ab"]


def test_a_dictionary_of_the_base_model_that_has_the_name_is_left_alone() -> None:
    class Heads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Linear(4, 4)
            self.heads = torch.nn.ModuleDict({"b": torch.nn.Linear(4, 2), "a": torch.nn.Linear(4, 2)})

    model = get_peft_model(Heads(), lora(("body",)), adapter_name="a")
    model.add_adapter("b", lora(("body",)))
    delete_adapter(model, "b")
    assert list(model.base_model.model.heads) == ["b", "a"]


# Hooks


def test_hooks_that_name_the_adapter_go_and_others_stay() -> None:
    from peft.tuners.lora import model as lora_model

    handle = two_adapters("linear", "peft")
    layer = layers(handle.model)[0]
    hook = getattr(lora_model, "_adapter_names_pre_forward_hook", None)
    if hook is None:
        pytest.skip("this PEFT has no such hook")
    layer.register_forward_pre_hook(functools.partial(hook, adapter_names=["b"]), with_kwargs=True)
    layer.register_forward_pre_hook(lambda module, inputs: None)
    delete_adapter(handle.model, "b")
    assert len(layer._forward_pre_hooks) == 1
    assert len(layer._forward_pre_hooks_with_kwargs) == 0


# Freed memory


def test_a_tensor_that_is_held_is_named_with_its_holder() -> None:
    handle = two_adapters("linear", "peft")
    held = layers(handle.model)[0].lora_A["b"].weight
    report = delete_adapter(handle.model, "b")
    assert [path for path, _ in report.freed.alive] == [
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.b.weight"
    ]
    assert "variable `held`" in report.freed.alive[0][1][0]
    assert report.freed.tensors == report.plan.tensors - 1
    assert report.freed.bytes == report.plan.nbytes - held.numel() * 4


def test_an_optimizer_that_holds_them_is_named() -> None:
    handle = two_adapters("linear", "peft")
    handle.activate("b")
    optimizer = torch.optim.AdamW([p for p in handle.model.parameters() if p.requires_grad])
    report = delete_adapter(handle.model, "b")
    assert len(report.freed.alive) == report.plan.tensors
    holders = " ".join(report.freed.alive[0][1])
    assert "param_groups[0]" in holders
    assert optimizer.param_groups


def test_what_was_held_dies_with_its_holder_and_not_with_the_next_collection() -> None:
    """The search for holders looks at frames, its own among them: it must leave no cycle that holds the tensor."""
    handle = two_adapters("linear", "peft")
    held = layers(handle.model)[0].lora_A["b"].weight
    lives = weakref.ref(held)
    assert delete_adapter(handle.model, "b").freed.alive
    gc.disable()
    try:
        del held
        assert lives() is None
    finally:
        gc.enable()


def test_bytes_freed_are_those_of_the_plan() -> None:
    handle = two_adapters("heads", "peft")
    report = delete_adapter(handle.model, "b")
    assert (
        report.freed.bytes
        == report.plan.bytes_freed
        == sum(
            # q and v of two layers, A and B of rank 2, and the head
            [2 * 2 * (16 * 2 + 2 * 16) * 4, 32 * 16 * 4]
        )
    )


# The report


def test_the_report_shows_what_changed() -> None:
    handle = two_adapters("heads", "peft")
    report = delete_adapter(handle.model, "b")
    assert report.diff.counts["removed"] > 0
    assert report.audit.clean
    assert str(report).startswith("Deleted adapter 'b'")
    assert audit(report.model).clean


def test_a_bare_module_without_any_registry() -> None:
    model = net()
    from peft import inject_adapter_in_model

    for name in "ab":
        inject_adapter_in_model(lora(("body.0",)), model, adapter_name=name)
    del model.peft_config
    delete_adapter(model, "b")
    assert list(model.body[0].lora_A) == ["a"]
    delete_adapter(model, "a")
    assert type(model.body[0]) is torch.nn.Linear
