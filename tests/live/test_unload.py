"""`unload` gives the base back; with `merge=True` one that computes what the active adapters did."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model, inject_adapter_in_model

import peftviz
from peftviz.errors import AdapterError, ModelError
from tests.live.faults import assert_every_fault_is_undone
from tests.live.zoo import (
    CASES,
    HAS_TOKENS,
    WAYS,
    Handle,
    case_of,
    has_way,
    llama,
    lora,
    net,
    one_adapter,
    output,
    tied_llama,
)
from tests.oracle import compare, describe, differences, photograph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MATRIX = [(case, way) for case in CASES for way in WAYS if has_way(case, way)]
ROUNDING = 2e-6
"""A merged weight is rounded once more than the sum of two products; logits of these models are of the order of 1."""

pytestmark = pytest.mark.filterwarnings("ignore")


def built(build: Callable[[], Handle]) -> Handle:
    """A model; the test is skipped where the PEFT it runs on cannot make it."""
    try:
        return build()
    except Exception as error:
        pytest.skip(f"this PEFT cannot build it: {error!r}"[:200])


def both(case: str, way: str, base: torch.nn.Module) -> Handle:
    handle = Handle(way, base)

    def build() -> Handle:
        handle.add("a", case_of(case).first(), seed=1)
        handle.activate("a")
        handle.add("b", case_of(case).second(), seed=2)
        handle.activate("a")
        return handle

    return built(build)


def structure(model: torch.nn.Module) -> dict[str, object]:
    """What `describe` says, without values: those of a merged base differ."""
    facts = describe(model)
    return {key: fact[:-1] if isinstance(fact, tuple) and len(fact) == 6 else fact for key, fact in facts.items()}


def lora_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in model.modules() if "lora_A" in vars(module)["_modules"]]


@pytest.mark.parametrize(("case", "way"), MATRIX)
def test_unloading_gives_the_base_back(case: str, way: str) -> None:
    base = CASES[case].build()
    baseline, before = peftviz.capture(base), describe(base)
    handle = both(case, way, base)
    report = peftviz.unload(handle.model, baseline=baseline)
    assert report.model is base
    assert list(compare(before, describe(base))) == []
    assert torch.equal(output(base), output(CASES[case].build()))
    assert report.adapters == ("a", "b")
    assert report.merged == ()
    assert report.freed.alive == ()
    assert report.freed.tensors > 0
    assert peftviz.audit(base, baseline=baseline).findings == ()
    assert not peftviz.diff(baseline, report.after)


@pytest.mark.parametrize(("case", "way"), MATRIX)
def test_merging_keeps_the_logits_and_the_structure_of_the_base(case: str, way: str) -> None:
    base = CASES[case].build()
    baseline, before = peftviz.capture(base), structure(base)
    handle = both(case, way, base)
    expected = output(handle.model)
    report = peftviz.unload(handle.model, merge=True, baseline=baseline)
    assert report.model is base
    assert report.merged == ("a",)
    if not torch.allclose(output(base), expected, rtol=0, atol=ROUNDING):
        theirs = output(one_adapter(case, "peft").model.merge_and_unload())
        assert not torch.allclose(theirs, expected, rtol=0, atol=ROUNDING)  # 0.14.0 leaves LoRA's bias out of a merge
        assert torch.allclose(output(base), theirs, rtol=0, atol=ROUNDING)
    assert not torch.equal(output(base), output(CASES[case].build()))
    if case == "tied-head":
        assert base.lm_head.weight is not base.model.embed_tokens.weight
        assert base.config.tie_word_embeddings is False
    else:
        assert list(compare(before, structure(base))) == []
    assert peftviz.audit(base).findings == ()


@pytest.mark.parametrize("case", CASES)
def test_merging_equals_what_peft_merges(case: str) -> None:
    ours, theirs = built(lambda: one_adapter(case, "peft")), built(lambda: one_adapter(case, "peft"))
    merged = peftviz.unload(ours.model, merge=True).model
    assert torch.allclose(output(merged), output(theirs.model.merge_and_unload()), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("merge", [False, True])
def test_flags_come_back_with_a_baseline_and_are_spoken_of_without(merge: bool) -> None:
    base = llama()
    base.model.embed_tokens.weight.requires_grad_(False)
    flags = {path: parameter.requires_grad for path, parameter in base.named_parameters()}
    baseline = peftviz.capture(base)
    report = peftviz.unload(both("heads", "peft", base).model, merge=merge, baseline=baseline)
    assert {path: parameter.requires_grad for path, parameter in report.model.named_parameters()} == flags
    assert report.warnings == ()
    again = peftviz.unload(both("heads", "peft", base).model, merge=merge)
    assert not any(parameter.requires_grad for parameter in again.model.parameters())
    assert "requires_grad=False" in again.warnings[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_trained_copy_of_a_tied_head_survives_saving(way: str, tmp_path: Path) -> None:
    report = peftviz.unload(one_adapter("tied-head", way).model, merge=True)
    assert any("no longer tied" in warning and "tie_word_embeddings is False" in warning for warning in report.warnings)
    report.model.save_pretrained(tmp_path)
    loaded = type(report.model).from_pretrained(tmp_path).eval()
    assert torch.equal(output(loaded), output(report.model))


def test_merging_into_a_tied_head_leaves_the_embedding_alone(tmp_path: Path) -> None:
    model = Handle("peft", tied_llama())
    model.add("a", lora(("lm_head",)), seed=1)
    expected = output(model.model)
    base = peftviz.unload(model.model, merge=True).model
    assert torch.equal(base.model.embed_tokens.weight, tied_llama().model.embed_tokens.weight)
    assert torch.allclose(output(base), expected, rtol=0, atol=ROUNDING)
    assert base.config.tie_word_embeddings is False
    base.save_pretrained(tmp_path)
    assert torch.equal(output(type(base).from_pretrained(tmp_path).eval()), output(base))


@pytest.mark.skipif(not HAS_TOKENS, reason="this PEFT trains no single tokens")
def test_tokens_of_a_tied_embedding_stay_tied() -> None:
    base = peftviz.unload(one_adapter("tokens-tied", "peft").model, merge=True).model
    assert base.lm_head.weight is base.model.embed_tokens.weight
    assert base.config.tie_word_embeddings is True


@pytest.mark.parametrize("safe", [False, True])
def test_merged_adapters_are_taken_out_of_the_base(safe: bool) -> None:
    handle = one_adapter("linear", "peft")
    for layer in lora_layers(handle.model):
        layer.merge(safe_merge=safe)
    report = peftviz.unload(handle.model)
    assert torch.allclose(output(report.model), output(llama()), rtol=0, atol=ROUNDING)
    assert "rounding error" in report.warnings[0]
    assert {action.kind for action in report.actions} >= {"unmerge", "unwrap"}


def test_what_is_merged_already_is_not_merged_twice() -> None:
    handle = one_adapter("linear", "peft")
    expected = output(handle.model)
    handle.model.merge_adapter()
    assert torch.allclose(output(peftviz.unload(handle.model, merge=True).model), expected, rtol=0, atol=ROUNDING)


@pytest.mark.skipif(not HAS_TOKENS, reason="this PEFT trains no single tokens")
def test_tokens_of_an_adapter_that_is_not_active_are_not_merged() -> None:
    handle = one_adapter("linear", "peft")
    handle.add("b", lora(("q_proj",), trainable_token_indices=[1, 2]), seed=2)
    expected = output(handle.model)
    base = peftviz.unload(handle.model, merge=True).model
    assert torch.allclose(output(base), expected, rtol=0, atol=ROUNDING)


def test_several_active_adapters_are_merged_together() -> None:
    model = inject_adapter_in_model(lora(("q_proj",)), llama(), adapter_name="a")
    model = inject_adapter_in_model(lora(("q_proj", "v_proj")), model, adapter_name="b")
    for module in lora_layers(model):
        module.set_adapter([name for name in ("a", "b") if name in module.lora_A])
    model.eval()
    expected = output(model)
    report = peftviz.unload(model, merge=True)
    assert report.merged == ("a", "b")
    assert torch.allclose(output(report.model), expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("merge", [False, True])
def test_attention_keeps_its_parameters(merge: bool) -> None:
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.MultiheadAttention(8, 2, batch_first=True)).eval()
    baseline, original = peftviz.capture(base), copy.deepcopy(base)
    try:
        model = get_peft_model(base, lora(("0",)), adapter_name="a").eval()
    except ValueError:
        pytest.skip("this PEFT has no layer for attention")
    attention = model.base_model.model[0].base_layer
    x = torch.rand(1, 3, 8)
    expected = copy.deepcopy(model).base_model.model[0](x, x, x)[0]  # PEFT's forward exchanges the parameters
    parameters = [attention.in_proj_weight, attention.in_proj_bias, *attention.out_proj.base_layer.parameters()]
    report = peftviz.unload(model, merge=merge, baseline=baseline)
    assert {id(parameter) for parameter in base.parameters()} == {id(parameter) for parameter in parameters}
    assert [type(module) for module in base.modules()] == [type(module) for module in original.modules()]
    assert {name for name, _ in base.named_parameters()} == {name for name, _ in original.named_parameters()}
    wanted = expected if merge else original[0](x, x, x)[0]
    assert torch.allclose(report.model[0](x, x, x)[0], wanted, rtol=0, atol=ROUNDING)


def test_what_peft_set_in_the_config_comes_back_with_a_baseline() -> None:
    base = llama()
    base.config.pretraining_tp = 2
    baseline = peftviz.capture(base)
    model = get_peft_model(base, lora(("q_proj",)), adapter_name="a")
    assert base.config.pretraining_tp == 1
    assert peftviz.unload(model, baseline=baseline).model.config.pretraining_tp == 2


def test_the_head_is_the_same_module_with_the_trained_weight() -> None:
    handle = one_adapter("heads", "peft")
    wrapper = handle.model.base_model.model.lm_head
    original, trained = wrapper.original_module, wrapper.modules_to_save["a"].weight
    base = peftviz.unload(handle.model, merge=True).model
    assert base.lm_head is original
    assert base.lm_head.weight is trained


@pytest.mark.parametrize("merge", [False, True])
def test_it_is_one_step_of_a_session(merge: bool) -> None:
    base = net()
    session = peftviz.watch(base)
    model = get_peft_model(base, lora(("body.0",), modules_to_save=["head"]), adapter_name="a")
    assert session.model is model
    report = session.unload(merge=merge)
    assert [step.operation for step in session.timeline] == ["get_peft_model", "peftviz.unload"]
    assert session.model is report.model is base
    assert all(parameter.requires_grad for parameter in base.parameters())
    session.close()


def test_a_model_whose_last_adapter_is_gone_can_be_unloaded() -> None:
    handle = one_adapter("heads", "peft")
    handle.model.delete_adapter("a")
    report = peftviz.unload(handle.model)
    assert differences(report.model, report.model) == []
    assert report.adapters == ()
    assert peftviz.audit(report.model).findings == ()
    assert "lora" not in str(report.model).lower()


# What is refused --------------------------------------------------------------------------------------------------


def refused(model: torch.nn.Module, **options: bool) -> str:
    before = photograph(model)
    with pytest.raises(AdapterError) as caught:
        peftviz.unload(model, **options)
    assert photograph(model) == before
    assert "Where: " in str(caught.value)
    assert "What to do: " in str(caught.value)
    return str(caught.value)


def test_a_plain_model_is_refused() -> None:
    assert "has no adapters" in refused(llama())
    with pytest.raises(ModelError):
        peftviz.unload("model")  # type: ignore[arg-type]


def test_a_method_that_changes_no_weights_cannot_be_merged() -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    model = get_peft_model(llama(), config, adapter_name="a")
    assert "'a' does not change weights alone" in refused(model, merge=True)
    assert type(peftviz.unload(model).model).__name__ == "LlamaForCausalLM"


def test_without_an_active_adapter_there_is_nothing_to_merge() -> None:
    model = inject_adapter_in_model(lora(("q_proj",)), llama(), adapter_name="a")
    for module in lora_layers(model):
        module.set_adapter([])
    assert "No adapter is active" in refused(model, merge=True)


def test_weights_that_are_not_finite_are_not_merged() -> None:
    handle = one_adapter("heads", "peft")
    layer = handle.model.base_model.model.model.layers[1].self_attn.q_proj
    with torch.no_grad():
        layer.lora_B["a"].weight[0, 0] = float("nan")
    message = refused(handle.model, merge=True)
    assert "not finite" in message
    assert "layers.1.self_attn.q_proj" in message


def test_what_peft_refuses_to_merge_is_said_in_its_words() -> None:
    handle = one_adapter("linear", "peft")
    handle.model.base_model.model.quantization_method = "gptq"
    assert "gptq" in refused(handle.model, merge=True)


# Faults -----------------------------------------------------------------------------------------------------------


FAULTY = [("heads", "peft"), ("tied-head", "inject"), ("dora", "mixin"), ("conv", "peft")]
if HAS_TOKENS:
    FAULTY.append(("tokens-tied", "peft"))


@pytest.mark.parametrize("state", ["merge", "unmerge", "plain"])
@pytest.mark.parametrize(("case", "way"), FAULTY)
def test_a_fault_at_every_mutation_changes_nothing(
    case: str, way: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = one_adapter(case, way).model
    if state == "unmerge":
        for module in model.modules():
            if callable(getattr(type(module), "merge", None)) and "merged_adapters" in vars(module):
                module.merge()
    done = []
    assert_every_fault_is_undone(model, lambda: done.append(peftviz.unload(model, merge=state == "merge")), monkeypatch)
    (report,) = done
    assert peftviz.audit(report.model).findings == ()


def test_an_interrupt_within_a_merge_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = one_adapter("linear", "peft")
    layers = lora_layers(handle.model)
    merge = type(layers[0]).merge

    def interrupted(layer: torch.nn.Module, *arguments: object, **options: object) -> None:
        merge(layer, *arguments, **options)
        if layer is layers[2]:
            raise KeyboardInterrupt

    before = photograph(handle.model)
    monkeypatch.setattr(type(layers[0]), "merge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        peftviz.unload(handle.model, merge=True)
    assert photograph(handle.model) == before


def test_the_report_says_what_was_done() -> None:
    report = peftviz.unload(one_adapter("heads", "peft").model, merge=True, baseline=peftviz.capture(llama()))
    lines = str(report).splitlines()
    assert lines[0] == "Unloaded 'a', 'a' merged into the base; go on with report.model, a LlamaForCausalLM"
    assert lines[1].startswith("done: merge 2, remove ")
    assert "freed" in lines[2]
