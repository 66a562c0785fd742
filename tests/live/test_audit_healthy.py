"""No alarm on healthy models: every method and state that the installed PEFT has."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from peftviz import capture
from peftviz.auditing import assert_clean, audit
from tests.live.audited import HEAD, TARGETS, base, lora, peft_warns

pytestmark = pytest.mark.filterwarnings("ignore")  # configs are made plain on purpose; PEFT advises on many of them

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "head": HEAD,
    "embeddings and head": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "bias": {"bias": "all"},
    "all-linear": {"target_modules": "all-linear"},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "dotted": {"target_modules": ["self_attn.q_proj"]},
    "regex": {"target_modules": r".*\.q_proj"},
    "tokens": {"trainable_token_indices": [1, 2]},
    "tokens and head": {"trainable_token_indices": [1, 2], **HEAD},
    "inference": {"inference_mode": True},
}
METHODS: dict[str, dict[str, Any]] = {
    "VeraConfig": {"r": 2, "target_modules": TARGETS},
    "IA3Config": {"target_modules": ["q_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    "LoHaConfig": {"r": 2, "target_modules": TARGETS},
    "LoKrConfig": {"r": 2, "target_modules": TARGETS},
    "AdaLoraConfig": {"target_modules": TARGETS, "total_step": 10},
    "OFTConfig": {"r": 0, "oft_block_size": 4, "target_modules": TARGETS},
    "BOFTConfig": {"boft_block_size": 4, "target_modules": TARGETS},
    "HRAConfig": {"r": 2, "target_modules": TARGETS},
    "FourierFTConfig": {"n_frequency": 4, "target_modules": TARGETS},
    "LNTuningConfig": {"target_modules": ["input_layernorm"]},
    "VBLoRAConfig": {"r": 2, "target_modules": TARGETS, "num_vectors": 8, "vector_length": 4},
    "RandLoraConfig": {"r": 2, "target_modules": TARGETS},
    "FrodConfig": {"target_modules": TARGETS},
    "FRODConfig": {"target_modules": TARGETS},
    "TrainableTokensConfig": {"target_modules": ["embed_tokens"], "token_indices": [1, 2]},
    "PromptTuningConfig": {"num_virtual_tokens": 2, "task_type": "CAUSAL_LM"},
    "PrefixTuningConfig": {"num_virtual_tokens": 2, "task_type": "CAUSAL_LM"},
    "PromptEncoderConfig": {"num_virtual_tokens": 2, "task_type": "CAUSAL_LM", "encoder_hidden_size": 4},
    "AdaptionPromptConfig": {"adapter_len": 2, "adapter_layers": 1, "task_type": "CAUSAL_LM"},
}
KNOWN = inspect.signature(peft.LoraConfig).parameters


def configs() -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {
        f"LoRA {name}": lambda options=options: lora(**options)
        for name, options in VARIANTS.items()
        if set(options) <= set(KNOWN)
    }
    for name, options in METHODS.items():
        if hasattr(peft, name):
            found[name] = lambda name=name, options=options: getattr(peft, name)(**options)
    return found


CONFIGS = configs()


def no_findings(model: Any, baseline: Any = None, known: str = "") -> None:
    """Asserts that there is no finding, infos included; `known` is the rule of infos that are true of the model."""
    found = audit(model, baseline=baseline)
    assert [(finding.rule, finding.path, finding.message) for finding in found if finding.rule != known] == []
    assert found.clean


@pytest.mark.parametrize("tie", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("method", CONFIGS)
def test_adding_and_switching(method: str, tie: bool) -> None:
    if tie and method == "LoRA tokens and head":
        pytest.skip("PEFT wraps the wrapper of a tied head, up to 0.18 it raises")
    # Of a tied pair an adapter trains a copy of one, or of each: worth knowing.
    known = "PV306" if tie and method.endswith("head") else ""
    plain = base(tie=tie)
    before = capture(plain)
    no_findings(plain, before)
    try:
        model = peft.get_peft_model(plain, CONFIGS[method](), adapter_name="a")
    except AttributeError as unfit:
        pytest.skip(f"this PEFT does not fit this transformers: {unfit}")
    no_findings(model, known=known)
    no_findings(model, before, known)
    one = capture(model)
    try:
        model.add_adapter("b", CONFIGS[method]())
    except ValueError as refused:  # AdaLoRA, bias="all": one adapter only
        assert "only" in str(refused)  # noqa: PT017
        return
    no_findings(model, known=known)
    no_findings(model, before, known)
    no_findings(model, one, known)
    for name in ("b", "a"):
        model.set_adapter(name)
        no_findings(model, before, known)


def test_several_active_merged_and_disabled() -> None:
    plain = base()
    before = capture(plain)
    model = peft.get_peft_model(plain, lora(), adapter_name="a")
    model.add_adapter("b", lora("v_proj", "k_proj"))
    model.base_model.set_adapter(["a", "b"])
    no_findings(model, before)
    with model.disable_adapter():
        no_findings(model, before)
    no_findings(model, before)
    model.merge_adapter()
    no_findings(model, before)
    model.unmerge_adapter()
    assert_clean(model, baseline=before)  # rounding may have changed base weights: an info


def test_disabled_with_a_head() -> None:
    model = peft.get_peft_model(base(), lora(**HEAD))
    before = capture(model)
    with model.disable_adapter():
        no_findings(model, before)
    no_findings(model, before)


def test_an_adapter_without_a_head_beside_one_that_has_it() -> None:
    plain = base()
    before = capture(plain)
    model = peft.get_peft_model(plain, lora(**HEAD), adapter_name="a")
    model.add_adapter("b", lora("k_proj"))
    model.set_adapter("b")
    no_findings(model, before)
    model.set_adapter("a")
    if vars(model.base_model.model.lm_head)["_disable_adapters"]:  # PEFT 0.14 leaves the head switched off
        assert [finding.rule for finding in audit(model, baseline=before)] == ["PV202"]
    else:
        no_findings(model, before)


def test_mixin() -> None:
    model = base()
    model.add_adapter(lora(), "a")
    one = capture(model)
    model.add_adapter(lora("k_proj"), "b")
    no_findings(model, one)
    model.set_adapter(["a", "b"])
    no_findings(model, one)
    model.disable_adapters()
    no_findings(model, one)
    model.enable_adapters()
    no_findings(model, one)


def test_mixin_with_a_head() -> None:
    model = base()
    model.add_adapter(lora(**HEAD), "a")
    no_findings(model)


def test_injected_and_parts_of_a_model() -> None:
    model = peft.inject_adapter_in_model(lora(**HEAD), base(), adapter_name="a")
    no_findings(model)
    no_findings(model.model.layers)
    no_findings(model.lm_head)
    no_findings(model.model.layers[0].self_attn.q_proj)


def test_mixed_methods() -> None:
    plain = base()
    before = capture(plain)
    model = peft.get_peft_model(plain, lora("q_proj"), adapter_name="a", mixed=True)
    model.add_adapter("b", peft.LoHaConfig(r=2, target_modules=["k_proj"]))
    no_findings(model, before)
    model.set_adapter(["a", "b"])
    no_findings(model, before)


def test_two_models_in_one() -> None:
    both = torch.nn.ModuleDict(
        {
            "text": peft.get_peft_model(base(), lora(), adapter_name="one"),
            "image": peft.get_peft_model(base(), lora(**HEAD), adapter_name="two"),
        }
    )
    no_findings(both)


class Branches(torch.nn.Module):
    """A base with a `ModuleDict` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = torch.nn.ModuleDict({"x": torch.nn.Linear(4, 4), "y": torch.nn.Linear(4, 4)})
        self.last = torch.nn.Linear(4, 4)


@pytest.mark.parametrize(
    "options", [{"target_modules": ["x", "last"]}, {"target_modules": ["last"], "modules_to_save": ["x"]}]
)
def test_a_base_with_dictionaries_of_its_own(options: dict[str, Any]) -> None:
    no_findings(peft.get_peft_model(Branches(), lora(**options)))


@pytest.mark.parametrize(
    "name", ["use_dora", "LORA", "k_proj", "merged_adapters", "données", "a b", "model", "peft_type"]
)
def test_odd_names(name: str) -> None:
    plain = base()
    before = capture(plain)
    model = peft.get_peft_model(plain, lora(), adapter_name=name)
    model.add_adapter(f"{name}2", lora())
    no_findings(model, before)


def test_gradient_checkpointing_and_training() -> None:
    plain = base().train()
    before = capture(plain)
    plain.gradient_checkpointing_enable()
    model = peft.get_peft_model(plain, lora(**HEAD))
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    no_findings(model, before)


def test_clean_unload() -> None:
    plain = base()
    before = capture(plain)
    model = peft.get_peft_model(plain, lora())
    with peft_warns():
        unloaded = model.unload()
    unloaded.requires_grad_(True)
    vars(unloaded).pop("peft_config", None)  # PEFT up to 0.18 leaves it
    no_findings(unloaded, before)


def test_layers_around_layers_in_a_mixed_model() -> None:
    model = peft.get_peft_model(base(), peft.LoHaConfig(r=2, target_modules=["q_proj"]), adapter_name="a", mixed=True)
    model.add_adapter("b", lora("q_proj", "v_proj"))
    assert type(model.base_model.model.model.layers[0].self_attn.q_proj.base_layer).__module__.startswith("peft")
    no_findings(model)


def test_a_base_that_is_cast_for_training_or_gets_more_tokens() -> None:
    plain = base().to(torch.bfloat16)
    before = capture(plain)
    no_findings(peft.get_peft_model(peft.prepare_model_for_kbit_training(plain), lora()), before)
    model = peft.get_peft_model(base(), lora())
    before = capture(model)
    model.resize_token_embeddings(40)
    assert model.base_model.model.lm_head.weight.shape[0] == 40
    assert not audit(model, baseline=before).of("PV302")


def test_use_and_saving_leave_no_trace(tmp_path: Path) -> None:
    plain = base()
    before = capture(plain)
    model = peft.get_peft_model(plain, lora(**HEAD), adapter_name="a")
    model.generate(input_ids=torch.tensor([[1, 2]]), max_new_tokens=2, pad_token_id=0)
    model(torch.tensor([[1, 2]]), output_hidden_states=True)
    no_findings(model, before)
    model.save_pretrained(tmp_path)
    no_findings(model, before)
    fresh = base()
    before = capture(fresh)
    loaded = peft.PeftModel.from_pretrained(fresh, tmp_path / "a", adapter_name="a")
    no_findings(loaded, before)
    loaded.load_adapter(tmp_path / "a", adapter_name="b")
    no_findings(loaded, before)
    no_findings(copy.deepcopy(loaded))


def test_a_weighted_sum_of_adapters() -> None:
    model = peft.get_peft_model(base(), lora(), adapter_name="a")
    model.add_adapter("b", lora())
    model.add_weighted_adapter(["a", "b"], [0.5, 0.5], "sum", combination_type="linear")
    no_findings(model)
    model.set_adapter("sum")
    no_findings(model)
