"""What deletion means where PEFT leaves it open, and what is refused."""

from __future__ import annotations

import functools

import pytest
import torch
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from peftviz.auditing import audit
from peftviz.core.diff import diff
from peftviz.errors import AdapterError, ModelError
from peftviz.live.capture import capture
from peftviz.live.deletion import delete_adapter, plan_deletion
from tests.live.zoo import CASES, HAS_TOKENS, Handle, llama, lora, net, one_adapter, output, two_adapters
from tests.oracle import describe, differences, photograph

pytestmark = pytest.mark.filterwarnings("ignore")

HEAD = {"modules_to_save": ["lm_head"]}


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


# The last one


def test_the_old_handle_after_the_last_adapter() -> None:
    base = llama()
    expected = output(base)
    model = get_peft_model(base, lora(("q_proj",), **HEAD))
    report = delete_adapter(model, "default")
    assert report.model is base
    assert model.active_adapters == []
    assert model.peft_config == {}
    assert torch.equal(output(model), expected)
    assert torch.equal(output(base), expected)
    assert model.generate(input_ids=torch.tensor([[1, 2]]), max_new_tokens=2, do_sample=False).shape == (1, 4)


def test_what_the_old_handle_can_do_it_does_as_the_base(tmp_path) -> None:
    base = llama()
    model = get_peft_model(base, lora(("q_proj",), **HEAD))
    delete_adapter(model, "default")
    assert model.get_base_model() is base
    with model.disable_adapter():
        assert torch.equal(output(model), output(base))
    model.save_pretrained(tmp_path)
    assert torch.equal(output(type(base).from_pretrained(tmp_path).eval()), output(base))
    with pytest.raises(AdapterError, match=r"report\.model"):
        model.get_model_status()


def test_an_old_handle_whose_base_cannot_save_says_where_to_go_on() -> None:
    model = get_peft_model(net(), lora(("body.0",)))
    delete_adapter(model, "default")
    with pytest.raises(AdapterError, match=r"report\.model"):
        model.save_pretrained("nowhere")


@pytest.mark.parametrize("case", ["linear", "heads"])
def test_what_was_active_before_is_noted_as_it_was(case: str) -> None:
    handle = Handle("peft", CASES[case].build())
    handle.add("a", CASES[case].first(), seed=1)
    before = capture(handle.model)
    handle.add("b", CASES[case].second(), seed=2)
    handle.activate("b")
    report = delete_adapter(handle.model, "b")
    assert not diff(before, report.after)


@pytest.mark.parametrize("way", ["peft", "inject"])
@pytest.mark.parametrize("case", ["linear", "heads"])
def test_the_snapshots_of_the_report_are_captures_of_the_model(case: str, way: str) -> None:
    handle = two_adapters(case, way)
    for name in ("a", "b"):
        before = capture(handle.model)
        report = delete_adapter(handle.model, name)
        handle.model = report.model
        assert report.before == before
        assert report.after == capture(report.model)
        identities = (report.after.modules.identity.tolist(), report.after.tensors.identity.tolist())
        now = capture(report.model)
        assert identities == (now.modules.identity.tolist(), now.tensors.identity.tolist())


def test_a_hook_for_gradients_that_stays_is_said() -> None:
    base = llama()
    base.gradient_checkpointing_enable()
    model = get_peft_model(base, lora(("q_proj",)))
    embeddings = base.get_input_embeddings()
    warnings = delete_adapter(model, "default", baseline=capture(llama())).warnings
    hooks = [hook for hook in embeddings._forward_hooks.values() if hook.__module__.startswith("peft")]
    assert [f"{len(hooks)} hook" in warning for warning in warnings] == [True] * bool(hooks)


def test_flags_of_tensors_that_go_are_not_restored_however_many_they_are() -> None:
    handle = Handle("peft", llama())
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    for seed, name in enumerate("abc"):
        handle.add(name, lora(targets), seed=seed)
    for name in "bc":
        handle.model.peft_config.pop(name)
    handle.model.requires_grad_(False)
    baseline = capture(handle.model)
    for path, parameter in handle.model.named_parameters():
        parameter.requires_grad = "lora_" in path
    plan = plan_deletion(handle.model, "a", baseline=baseline)
    assert plan.tensors == 3 * 7 * 2 * 2
    assert [action.detail for action in plan.actions if action.kind == "restore"] == []


def test_the_old_handle_takes_a_new_adapter() -> None:
    base = llama()
    model = get_peft_model(base, lora(("q_proj",), **HEAD))
    delete_adapter(model, "default")
    torch.manual_seed(5)
    model.add_adapter("new", lora(("q_proj",), **HEAD))
    model.set_adapter("new")
    fresh = get_peft_model(llama(), lora(("k_proj",)), adapter_name="other")
    assert output(fresh).shape == output(model).shape
    assert not torch.equal(output(model), output(llama()))
    assert delete_adapter(model, "new").model is base
    assert torch.equal(output(base), output(llama()))


def test_the_base_takes_a_new_peft_model() -> None:
    base = llama()
    delete_adapter(get_peft_model(base, lora(("q_proj",), **HEAD)), "default")
    other = llama()
    models = []
    for model in (base, other):
        torch.manual_seed(1)
        models.append(get_peft_model(model, lora(("q_proj",), **HEAD)))
    assert differences(*models) == []


def test_without_a_baseline_a_frozen_base_is_said() -> None:
    model = get_peft_model(llama(), lora(("q_proj",)))
    report = delete_adapter(model, "default")
    assert len(report.warnings) == 1
    assert "21 of 21 base parameters" in report.warnings[0]
    assert not any(flags(report.model).values())


def test_with_a_saved_baseline_the_flags_come_back_by_path(tmp_path) -> None:
    from peftviz.core.serialize import load

    base = llama()
    base.model.norm.weight.requires_grad = False
    expected = flags(base)
    path = capture(base).save(tmp_path / "base.pvz")
    model = get_peft_model(base, lora(("q_proj",), **HEAD))
    report = delete_adapter(model, "default", baseline=load(path))
    assert report.warnings == ()
    assert flags(report.model) == expected


@pytest.mark.parametrize(
    ("options", "words"), [({"bias": "all"}, "bias='all'"), ({"init": "pissa"}, "init_lora_weights='pissa'")]
)
def test_what_cannot_be_restored_is_said(options: dict[str, str], words: str) -> None:
    config = lora(("q_proj",), bias=options.get("bias", "none"))
    config.init_lora_weights = options.get("init", True)
    model = get_peft_model(llama(), config)
    assert words in " ".join(plan_deletion(model, "default").warnings)


def test_empty_wrappers_are_kept_on_request() -> None:
    base = llama()
    expected = output(base)
    model = get_peft_model(base, lora(("q_proj",), **HEAD))
    layer = base.model.layers[0].self_attn.q_proj
    report = delete_adapter(model, "default", unwrap=False)
    assert report.model is model
    assert base.model.layers[0].self_attn.q_proj is layer
    assert torch.equal(output(model), expected)
    assert {finding.rule for finding in report.audit} >= {"PV102"}


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


@pytest.mark.skipif(not HAS_TOKENS, reason="this PEFT has no trainable tokens beside LoRA")
def test_ties_survive_the_last_deletion() -> None:
    handle = two_adapters("tokens-tied", "peft")
    model = handle.model
    for name in "ab":
        model = delete_adapter(model, name).model
    assert model.lm_head.weight is model.model.embed_tokens.weight
