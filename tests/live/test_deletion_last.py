"""When the last adapter goes: the base that is left, the old handle, what cannot be restored."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model

import peftviz
from peftviz.core.diff import diff
from peftviz.errors import AdapterError
from peftviz.live.removal.deletion import delete_adapter, plan_deletion
from peftviz.live.removal.repair import repair
from peftviz.live.removal.unload import unload
from peftviz.live.snapshots.capture import capture
from tests.live.zoo import CASES, HAS_TOKENS, HEAD, Handle, llama, lora, net, output, two_adapters
from tests.oracle import compare, describe, differences

pytestmark = pytest.mark.filterwarnings("ignore")


def flags(model: torch.nn.Module) -> dict[str, bool]:
    return {path: parameter.requires_grad for path, parameter in model.named_parameters()}


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


@pytest.mark.parametrize("operation", ["delete", "unload", "repair"])
@pytest.mark.parametrize("already", [0, 1], ids=["none before", "one before"])
def test_hooks_for_gradients_are_those_of_the_baseline(operation: str, already: int) -> None:
    base = llama()
    base.gradient_checkpointing_enable()
    base.get_input_embeddings()._forward_hooks.clear()  # some releases of transformers set one here, some do not
    if already:
        base.enable_input_require_grads()
    baseline, before = capture(base), describe(base)
    model = get_peft_model(base, lora(("q_proj",)), adapter_name="a")
    embeddings = base.get_input_embeddings()
    assert len(embeddings._forward_hooks) > already
    if operation == "delete":
        report = delete_adapter(model, "a", baseline=baseline)
    elif operation == "unload":
        report = unload(model, baseline=baseline)
    else:
        report = repair(model.unload(), baseline=baseline)
    assert report.model is base
    assert not report.warnings
    assert list(compare(before, describe(base))) == []
    assert peftviz.audit(base, baseline=baseline).clean
    if already:
        base.disable_input_require_grads()
    assert len(embeddings._forward_hooks) == 0, "the base still has the handle of the hook that is left"


def test_a_hook_for_gradients_that_stays_is_said_where_there_is_no_baseline() -> None:
    base = llama()
    base.gradient_checkpointing_enable()
    warnings = delete_adapter(get_peft_model(base, lora(("q_proj",))), "default").warnings
    count = len(base.get_input_embeddings()._forward_hooks)
    assert count
    (said,) = [warning for warning in warnings if "embed_tokens" in warning]
    assert said.startswith(f"{count} hook")
    assert "Without a baseline" in said


def test_a_hook_of_the_users_own_stays() -> None:
    base = llama()
    baseline = capture(base)

    def make_inputs_require_grad(*_: object) -> None:
        """As many notebooks have it."""

    base.get_input_embeddings().register_forward_hook(make_inputs_require_grad)
    report = delete_adapter(get_peft_model(base, lora(("q_proj",))), "default", baseline=baseline)
    assert list(base.get_input_embeddings()._forward_hooks.values()) == [make_inputs_require_grad]
    assert not report.warnings


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


@pytest.mark.skipif(not HAS_TOKENS, reason="this PEFT has no trainable tokens beside LoRA")
def test_ties_survive_the_last_deletion() -> None:
    handle = two_adapters("tokens-tied", "peft")
    model = handle.model
    for name in "ab":
        model = delete_adapter(model, name).model
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("mixed", [False, True], ids=["PeftModel", "PeftMixedModel"])
def test_what_peft_set_in_the_config_comes_back_with_the_last_adapter(mixed: bool) -> None:
    base = llama()
    base.config.pretraining_tp = 2
    baseline = capture(base)
    model = get_peft_model(base, lora(("q_proj",)), adapter_name="a", mixed=mixed)
    model.add_adapter("b", lora(("v_proj",)))
    delete_adapter(model, "a", baseline=baseline)
    assert base.config.pretraining_tp == 1
    plan = plan_deletion(model, "b", baseline=baseline)
    assert base.config.pretraining_tp == 1
    assert "pretraining_tp=2 in the config, as in the baseline" in [action.detail for action in plan.actions]
    report = delete_adapter(model, "b", baseline=baseline)
    assert base.config.pretraining_tp == 2
    assert not report.warnings
    assert report.audit.clean


def test_what_peft_set_is_said_where_there_is_no_baseline() -> None:
    base = llama()
    total = len(list(base.parameters()))
    frozen = f"{total} of {total} base parameters have requires_grad=False"
    report = delete_adapter(get_peft_model(base, lora(("q_proj",))), "default")
    assert [warning.partition(";")[0] for warning in report.warnings] == [
        f"{frozen} and config.pretraining_tp is 1, which PEFT sets"
    ]
    injected = Handle("inject", llama())
    injected.add("a", lora(("q_proj",)), seed=1)
    assert "pretraining_tp" not in str(delete_adapter(injected.model, "a").warnings), "handles set it, layers do not"
