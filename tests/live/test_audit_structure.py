"""Configs, ties, dtypes and optimizers against what the model is, on real PEFT."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import LlamaForCausalLM

import peftviz
from peftviz import capture
from peftviz.auditing import assert_clean, audit
from peftviz.core.finding import Finding
from peftviz.errors import AuditFailure, ModelError
from peftviz.live.removal.repair import repair
from tests.live.audited import HEAD, base, lora, two

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PEFT warns of some of what is done here on purpose
    pytest.mark.usefixtures("sentences"),
]

KNOWN = {field.name for field in dataclasses.fields(peft.LoraConfig)}
X = torch.tensor([[1, 2, 3]])


def only(model: Any, rule: str, **options: Any) -> Finding:
    (finding,) = audit(model, **options).of(rule)
    return finding


# Ties ---------------------------------------------------------------------------------------------------------------


def untied(model: Any) -> Any:
    """A tied model whose head was given a weight of its own, with other values."""
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() + 1)
    return model


def test_a_model_whose_config_ties_what_is_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Saved and loaded, transformers 4 loses one of the two; transformers 5 keeps both and says what is wrong."""
    plain = untied(base(tie=True))
    finding = only(plain, "PV306")
    assert (finding.severity, finding.path) == ("error", "lm_head.weight")
    assert finding.evidence == {
        "paths": ["model.embed_tokens.weight", "lm_head.weight"],
        "same_values": False,
        "at_baseline": False,
    }
    plain.save_pretrained(tmp_path)
    again = LlamaForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(again(X).logits, plain(X).logits) == ("NOT tie" in caplog.text)


def test_unloading_a_trained_head_from_a_tied_model() -> None:
    """The base saved after it loses the head; PEFT says so only when it merges."""
    model = peft.get_peft_model(base(tie=True), lora(**HEAD), adapter_name="a")
    with torch.no_grad():
        model.base_model.model.lm_head.modules_to_save["a"].weight += 1
    assert only(model, "PV306").severity == "info"
    assert only(model.unload(), "PV306").severity == "error"


def test_a_tie_that_was_lost_since_the_baseline_is_told_once() -> None:
    plain = base(tie=True)
    before = capture(plain)
    assert {finding.rule for finding in audit(untied(plain), baseline=before)} == {"PV303", "PV302"}


def test_apart_at_the_baseline_too_is_an_info_and_the_same_values_a_warning() -> None:
    plain = untied(base(tie=True))
    assert only(plain, "PV306", baseline=capture(plain)).severity == "info"
    plain.lm_head.weight = torch.nn.Parameter(plain.model.embed_tokens.weight.detach().clone())
    assert only(plain, "PV306").severity == "warning"


def test_trained_copies_of_a_tied_pair_drift_apart() -> None:
    model = peft.get_peft_model(base(tie=True), lora(modules_to_save=["embed_tokens", "lm_head"]), adapter_name="a")
    finding = only(model, "PV306")
    assert (finding.severity, finding.adapter, finding.evidence["drifted"]) == ("info", "a", False)
    with torch.no_grad():
        model.base_model.model.lm_head.modules_to_save["a"].weight += 1
    finding = only(model, "PV306")
    assert (finding.severity, finding.evidence["drifted"]) == ("warning", True)
    assert "have drifted apart" in finding.message


@pytest.mark.skipif("ensure_weight_tying" not in KNOWN, reason="this PEFT keeps no ties")
def test_copies_that_are_kept_tied_are_healthy_but_only_for_the_first_adapter() -> None:
    """PEFT makes no tied copy for a second adapter; when this fails, a release has mended it."""
    options = {"modules_to_save": ["lm_head"], "ensure_weight_tying": True}
    try:
        model = peft.get_peft_model(base(tie=True), lora(**options), adapter_name="a")
    except AttributeError:
        pytest.skip("PEFT 0.18.1 looks for a wrapper around the other end of the tie")
    assert list(audit(model)) == []
    model.add_adapter("b", lora(**options))
    finding = only(model, "PV306")
    assert (finding.adapter, finding.severity, finding.evidence["asked_to_be_tied"]) == ("b", "warning", True)
    assert "b" not in model.base_model.model.lm_head.modules_to_save


# The base's config --------------------------------------------------------------------------------------------------


def test_config_entries_that_peft_changes_are_said_and_written_back() -> None:
    plain = base()
    plain.config.pretraining_tp = 2
    before = capture(plain)
    model = peft.get_peft_model(plain, lora(), adapter_name="a")
    assert not audit(model, baseline=before).of("PV307"), "while adapters live it is PEFT's way"
    unloaded = model.unload()
    finding = only(unloaded, "PV307", baseline=before)
    assert (finding.severity, finding.repairable) == ("warning", True)
    assert finding.evidence == {"changed": {"pretraining_tp": [2, 1]}}
    report = repair(unloaded, baseline=before)
    assert plain.config.pretraining_tp == 2
    assert "pretraining_tp=2 in the config" in report.actions[-1].detail
    assert not audit(unloaded, baseline=before).of("PV307")


def test_what_saving_notes_in_the_config_is_no_change(tmp_path: Path) -> None:
    """`save_pretrained` of transformers fills in what class and dtype the model has."""
    plain = base()
    before = capture(plain)
    assert before.base.config["architectures"] is None
    plain.save_pretrained(tmp_path)
    noted = plain.config.architectures
    assert noted
    assert not audit(plain, baseline=before).of("PV307")
    plain.config.pretraining_tp = 3
    repair(plain, baseline=before)
    assert plain.config.architectures == noted, "a repair of something else leaves it alone"


def test_the_number_of_layers_after_layer_replication() -> None:
    plain = base()
    before = capture(plain)
    model = peft.get_peft_model(plain, lora(layer_replication=[(0, 2), (1, 2)]), adapter_name="a")
    unloaded = model.unload()
    finding = only(unloaded, "PV307", baseline=before)
    assert finding.evidence["changed"]["num_hidden_layers"] == [2, 3]
    assert not finding.repairable
    repair(unloaded, baseline=before)
    assert len(plain.model.layers) == plain.config.num_hidden_layers == 3, "the layers stay, and so does their number"


def test_a_tie_that_merging_parted_is_not_declared_again() -> None:
    plain = base(tie=True)
    plain.config.pretraining_tp = 2
    before = capture(plain)
    model = peft.get_peft_model(plain, lora(**HEAD), adapter_name="a")
    with torch.no_grad():
        model.base_model.model.lm_head.modules_to_save["a"].weight += 1
    unloaded = peftviz.unload(model, merge=True).model
    assert plain.config.tie_word_embeddings is False
    findings = audit(unloaded, baseline=before).of("PV307")
    assert {(*finding.evidence["changed"], finding.repairable) for finding in findings} == {
        ("pretraining_tp", True),
        ("tie_word_embeddings", False),
    }
    repair(unloaded, baseline=before)
    assert (plain.config.pretraining_tp, plain.config.tie_word_embeddings) == (2, False)
    plain.lm_head.weight = plain.model.embed_tokens.weight
    repair(unloaded, baseline=before)
    assert plain.config.tie_word_embeddings is True


def test_attributes_that_the_base_was_given_for_its_adapters() -> None:
    """PEFT up to 0.15.2 leaves `modules_to_save`."""
    plain = base()
    before = capture(plain)
    plain.modules_to_save = {"lm_head"}
    plain.my_own = 1
    finding = only(plain, "PV307", baseline=before)
    assert (finding.severity, finding.evidence, finding.repairable) == (
        "info",
        {"attributes": ["modules_to_save"]},
        False,
    )


# Configs and structure ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "field", "missing"),
    [
        ({"target_modules": ["q_proj", "c_attn"]}, "target_modules", ["c_attn"]),
        ({"target_modules": ["self_attn.q_proj", "mlp.q_proj"]}, "target_modules", ["mlp.q_proj"]),
        ({"modules_to_save": ["lm_head", "score"]}, "modules_to_save", ["score"]),
        ({"rank_pattern": {"q_proj": 4, "k_proj": 4, "^x.*": 4}}, "rank_pattern", ["k_proj"]),
        ({"alpha_pattern": {"layers.7.q_proj": 4}}, "alpha_pattern", ["layers.7.q_proj"]),
        ({"layers_to_transform": [0, 7]}, "layers_to_transform", ["7"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_entry_that_matches_nothing_is_named(options: dict[str, Any], field: str, missing: list[str]) -> None:
    finding = only(peft.get_peft_model(base(), lora(**options)), "PV403")
    assert (finding.evidence["field"], finding.evidence["missing"]) == (field, missing)
    assert finding.severity == "info"


@pytest.mark.skipif("target_parameters" not in KNOWN, reason="this PEFT targets no parameters")
def test_parameters_that_are_not_there() -> None:
    wanted = ["mlp.up_proj.weight", "experts.gate_up_proj"]
    finding = only(peft.get_peft_model(base(), lora(target_parameters=wanted)), "PV403")
    assert (finding.evidence["field"], finding.evidence["missing"]) == ("target_parameters", ["experts.gate_up_proj"])


def test_classification_names_both_heads_on_purpose() -> None:
    from transformers import LlamaForSequenceClassification

    plain = LlamaForSequenceClassification(base().config)
    model = peft.get_peft_model(plain, lora(task_type="SEQ_CLS"))
    assert set(model.peft_config["default"].modules_to_save) == {"classifier", "score"}
    assert not audit(model).of("PV403")


def test_targets_that_lost_their_adapter() -> None:
    model = two(second=lora("q_proj", "k_proj"))
    layers = model.base_model.model.model.layers
    layers[0].self_attn.q_proj.delete_adapter("a")
    layers[1].self_attn.v_proj = layers[1].self_attn.v_proj.base_layer
    finding = only(model, "PV404")
    layer = "base_model.model.model.layers"
    assert finding.evidence == {
        "without": 2,
        "adapted": 2,
        "paths": [f"{layer}.0.self_attn.q_proj", f"{layer}.1.self_attn.v_proj"],
        "target_modules": ["q_proj", "v_proj"],
    }
    assert (finding.adapter, finding.severity) == ("a", "warning")


@pytest.mark.parametrize(
    "options",
    [
        {"exclude_modules": ["layers.0.self_attn.q_proj"]},
        {"layers_to_transform": [1]},
        {"target_modules": r".*1\.self_attn\.q_proj"},
        {"target_modules": ["lm_head", "q_proj"], **HEAD},
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_left_out_on_purpose_is_not_missed(options: dict[str, Any]) -> None:
    if "exclude_modules" in options and "exclude_modules" not in KNOWN:
        pytest.skip("this PEFT excludes no modules")
    assert not audit(peft.get_peft_model(base(), lora(**options))).of("PV404")


# Dtypes -------------------------------------------------------------------------------------------------------------


def test_an_adapter_in_float32_around_a_base_in_bfloat16_is_healthy() -> None:
    model = peft.get_peft_model(base().to(torch.bfloat16), lora(), adapter_name="a")
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.lora_A["a"].weight.dtype is torch.float32
    assert list(audit(model)) == []
    model.to(torch.bfloat16)
    model.add_adapter("b", lora())  # float32 beside bfloat16
    assert list(audit(model)) == []


def test_copies_that_train_in_another_dtype_than_the_layers_are_an_info() -> None:
    model = peft.get_peft_model(base().to(torch.bfloat16), lora(**HEAD), adapter_name="a")
    finding = only(model, "PV405")
    assert finding.severity == "info"
    assert finding.evidence == {"copies": ["bfloat16"], "layers": ["float32"]}
    assert_clean(model)


def test_weights_of_one_layer_in_two_dtypes_break_its_forward() -> None:
    model = two()
    layer = model.base_model.model.model.layers[1].self_attn.v_proj
    layer.lora_A["a"].to(torch.bfloat16)
    finding = only(model, "PV405")
    assert (finding.path, finding.adapter) == ("base_model.model.model.layers.1.self_attn.v_proj", "a")
    assert finding.evidence == {"layers": 1, "weights": {"bfloat16": 1, "float32": 1}}
    with pytest.raises(RuntimeError, match="dtype"):
        model(X)


# Optimizers ---------------------------------------------------------------------------------------------------------


def training(model: Any) -> torch.optim.Optimizer:
    """An AdamW that has made a step."""
    optimizer = torch.optim.AdamW(parameter for parameter in model.parameters() if parameter.requires_grad)
    model(X).logits.sum().backward()
    optimizer.step()
    return optimizer


def test_an_optimizer_of_all_that_trains_is_healthy() -> None:
    model = two(lora(**HEAD), lora(**HEAD))
    assert list(audit(model, optimizer=training(model))) == []
    tied = peft.get_peft_model(base(tie=True), lora(), adapter_name="a")
    assert list(audit(tied, optimizer=[training(tied)])) == []


def test_parameters_that_the_optimizer_keeps_alive_are_counted_and_named() -> None:
    model = two(lora(**HEAD), lora())
    before = capture(model)
    optimizer = training(model)
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    peftviz.delete_adapter(model, "a")
    finding = only(model, "PV501", baseline=before, optimizer=optimizer)
    nbytes = sum(parameter.numel() * parameter.element_size() for parameter in held)
    assert finding.severity == "error", "nothing that it holds is in the model"
    assert finding.evidence["bytes"] == nbytes
    assert finding.evidence["state_bytes"] == 2 * nbytes + 4 * len(held), "two moments and a step each"
    assert finding.evidence["parameters"] == finding.evidence["of"] == len(held) > 4
    assert finding.evidence["were"][0] == "base_model.model.model.layers.0.self_attn.q_proj.lora_A.a.weight"
    with pytest.raises(AuditFailure, match="PV501"):
        assert_clean(model, optimizer=optimizer)


def test_an_optimizer_that_holds_a_part_of_what_is_gone() -> None:
    model = two()
    optimizer = training(model)
    model.set_adapter("b")
    optimizer.add_param_group({"params": [parameter for parameter in model.parameters() if parameter.requires_grad]})
    peftviz.delete_adapter(model, "a")
    finding = only(model, "PV501", optimizer=optimizer)
    assert (finding.severity, finding.evidence["parameters"], finding.evidence["of"]) == ("warning", 8, 16)
    assert not audit(model, optimizer=optimizer).of("PV502")


def test_an_optimizer_made_too_early_trains_nothing() -> None:
    plain = base()
    optimizer = torch.optim.AdamW(plain.parameters())
    model = peft.get_peft_model(plain, lora(), adapter_name="a")
    finding = only(model, "PV502", optimizer=optimizer)
    assert (finding.severity, finding.adapter) == ("error", "a")
    assert (finding.evidence["parameters"], finding.evidence["of"]) == (8, 8)
    assert not audit(model, optimizer=optimizer).of("PV501"), "the base's parameters are still there"


def test_an_adapter_that_came_after_the_optimizer_is_an_info() -> None:
    model = peft.get_peft_model(base(), lora(), adapter_name="a")
    optimizer = training(model)
    model.add_adapter("b", lora("k_proj"))
    model.base_model.set_adapter(["a", "b"])
    finding = only(model, "PV502", optimizer=optimizer)
    assert (finding.severity, finding.adapter, finding.evidence["parameters"]) == ("info", "b", 4)
    assert_clean(model, optimizer=optimizer)


def test_what_is_no_optimizer_and_a_snapshot_from_a_file_are_refused(tmp_path: Path) -> None:
    model = two()
    with pytest.raises(ModelError, match="optimizers of PyTorch"):
        audit(model, optimizer=model)  # type: ignore[arg-type]
    loaded = peftviz.load(capture(model).save(tmp_path / "state"))
    with pytest.raises(ModelError, match="another process"):
        audit(loaded, optimizer=training(model))
