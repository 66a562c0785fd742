"""What PEFT leaves behind, reached on the PEFT that is installed, and the finding for it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch

from peftviz import capture
from peftviz.auditing import assert_clean, audit
from peftviz.core.audit import Audit, Finding
from peftviz.errors import AuditFailure, ModelError
from tests.live.audited import HEAD, base, delete_per_layer, lora, two
from tests.live.zoo import HAS_TOKENS, LONE, METHODS, Handle, adapter_alone, output

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PEFT warns of some of what is done here on purpose
    pytest.mark.usefixtures("sentences"),
]

LM_HEAD = "base_model.model.lm_head"


def only(result: Audit, rule: str) -> Finding:
    (finding,) = result.of(rule)
    return finding


def test_the_classic_leftover_of_delete_adapter() -> None:
    """peft#2381: fixed in PEFT 0.16 for PeftModel; there, the model is clean."""
    model = two(lora(**HEAD), lora(**HEAD))
    model.delete_adapter("b")
    wrapper = model.base_model.model.lm_head
    result = audit(model)
    if "b" not in wrapper.modules_to_save:
        assert {finding.rule for finding in result} <= {"PV104"}
        return
    finding = only(result, "PV101")
    weight = wrapper.modules_to_save["b"].weight
    assert finding.path == f"{LM_HEAD}.modules_to_save.b"
    assert finding.adapter == "b"
    assert finding.evidence["bytes"] == weight.numel() * weight.element_size()
    assert not result.clean


def test_the_classic_leftover_of_the_idiom_per_layer() -> None:
    model = two(lora(**HEAD), lora(**HEAD))
    delete_per_layer(model, "b")
    result = audit(model)
    finding = only(result, "PV101")
    weight = model.base_model.model.lm_head.modules_to_save["b"].weight
    assert finding.path == f"{LM_HEAD}.modules_to_save.b"
    assert finding.message == "A trained copy of lm_head outlived its adapter."
    assert finding.evidence["bytes"] == weight.numel() * weight.element_size()
    assert finding.evidence["parameters"] == weight.numel()
    assert finding.repairable
    assert result.snapshot.module_path(finding.rows[0]) == finding.path
    with pytest.raises(AuditFailure, match="PV101"):
        assert_clean(model)


def test_the_active_adapter_deleted_per_layer() -> None:
    """The handles go on naming the dead adapter. The layers, which went over to the other one, are not at fault."""
    model = two(lora(), lora(**HEAD))
    model.set_adapter("b")
    delete_per_layer(model, "b")
    result = audit(model)
    assert {finding.path for finding in result.of("PV201")} <= {"", "base_model"}
    assert [finding.path for finding in result.of("PV101")] == [f"{LM_HEAD}.modules_to_save.b"]


@pytest.mark.skipif(not HAS_TOKENS, reason="this PEFT trains no single tokens")
def test_token_deltas_of_the_idiom_per_layer() -> None:
    model = two(lora(), lora(trainable_token_indices=[1, 2]))
    delete_per_layer(model, "b")
    leftovers = {finding.path.rpartition(".")[0]: finding for finding in audit(model).of("PV101")}
    wrapper = "base_model.model.model.embed_tokens.token_adapter"
    assert set(leftovers) == {f"{wrapper}.trainable_tokens_delta", f"{wrapper}.trainable_tokens_original"}
    assert {finding.adapter for finding in leftovers.values()} == {"b"}
    assert leftovers[f"{wrapper}.trainable_tokens_delta"].evidence["parameters"] == 2 * 16


def test_the_last_adapter_deleted() -> None:
    """diffusers#11592: every PEFT leaves the wrappers, with keys that no loader knows."""
    plain = base()
    before = capture(plain)
    model = peft.get_peft_model(plain, lora(**HEAD), adapter_name="a")
    model.delete_adapter("a")
    result = audit(model, baseline=before)
    empty = {finding.path: len(finding.rows) for finding in result.of("PV102")}
    layer = "base_model.model.model.layers.0.self_attn"
    assert empty.items() >= {f"{layer}.q_proj": 2, f"{layer}.v_proj": 2}.items()
    assert (LM_HEAD in empty) is ("a" not in model.base_model.model.lm_head.modules_to_save)
    assert {finding.severity for finding in result.of("PV102")} == {"error"}
    lost = [key for key in model.state_dict() if ".base_layer." in key or ".original_module." in key]
    assert only(result, "PV402").evidence["keys"] == len(lost) == 5
    stale = [finding for finding in result.of("PV201") if finding.path == ""]
    assert [finding.adapter for finding in stale] == ["a"]  # PeftModel.active_adapter
    assert only(result, "PV301").evidence["parameters"] == 21


def test_wrappers_that_lose_weights_at_the_next_load_are_seen_for_every_method() -> None:
    """Those with a constant of their own, like BOFT's, among them."""
    wrapped, missed = 0, []
    for name, case in METHODS.items():
        try:
            handle = adapter_alone(case, "peft")
            handle.model.delete_adapter("a")
        except (AttributeError, TypeError, ValueError):  # an older PEFT that cannot make it, or not delete the last one
            continue
        if any(".base_layer." in f".{key}" for key in handle.base.state_dict()):
            wrapped += 1
            if not {"PV102", "PV402"} & {finding.rule for finding in audit(handle.base)}:
                missed.append(name)
    assert wrapped
    assert missed == []


def test_the_last_adapter_deleted_through_transformers() -> None:
    """transformers#34650: with the registry gone too, the weights are saved under the wrappers' names."""
    model = base()
    model.add_adapter(lora(**HEAD), "a")
    model.delete_adapter("a")
    result = audit(model)
    lost = [key for key in model.state_dict() if ".base_layer." in key or ".original_module." in key]
    assert only(result, "PV402").evidence["keys"] == len(lost) == 5
    leftovers = [finding.path for finding in result.of("PV101")]
    assert leftovers == (["lm_head.modules_to_save.a"] if "a" in model.lm_head.modules_to_save else [])


def test_wrappers_of_targets_that_nobody_has_any_more() -> None:
    model = two(lora("q_proj"), lora("q_proj", "k_proj"))
    model.delete_adapter("b")
    finding = only(audit(model), "PV102")
    assert (finding.path, finding.severity) == ("base_model.model.model.layers.0.self_attn.k_proj", "warning")
    assert len(finding.rows) == 2


def test_ghost_of_an_add_that_failed() -> None:
    """peft#3707, #798: the layers are made before the wrapper refuses a module that is a LoRA layer."""
    model = two()
    with pytest.raises(TypeError):
        model.add_adapter("ghost", lora("v_proj", modules_to_save=["q_proj"]))
    result = audit(model)
    layers = [name for name, module in model.named_modules() if "ghost" in vars(module).get("r", {})]
    assert "ghost" not in model.peft_config
    if not layers:  # up to 0.15 wrappers come before layers
        assert not result
        return
    finding = only(result, "PV103")
    assert finding.adapter == "ghost"
    assert finding.evidence["layers"] == len(layers) == 2
    assert finding.evidence["bytes"] == 2 * 2 * (2 * 16) * 4


def test_names_left_in_undeclared_dictionaries() -> None:
    """peft#3376: up to 0.19.1 `use_dora` and its like keep the name."""
    model = two()
    model.delete_adapter("b")
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    keep = sorted(attribute for attribute, value in vars(layer).items() if isinstance(value, dict) and "b" in value)
    findings = audit(model).of("PV104")
    assert [sorted(finding.evidence["attributes"]) for finding in findings] == ([keep] if keep else [])
    assert all(len(finding.rows) == 4 for finding in findings)


def test_stale_handle_after_the_last_adapter() -> None:
    model = peft.get_peft_model(base(), lora(), adapter_name="a")
    model.delete_adapter("a")
    stale = only(audit(model), "PV201")
    assert (stale.path, stale.adapter) == ("", "a")
    with pytest.raises((KeyError, ValueError)):
        model(torch.tensor([[1]]))


def test_fallback_whose_head_is_not_switched_on_again() -> None:
    """peft#3716: layers fall back to a, its head does not."""
    model = two(lora(**HEAD), lora())
    model.set_adapter("b")
    model.delete_adapter("b")
    wrapper = model.base_model.model.lm_head
    inactive = vars(wrapper)["_disable_adapters"] or "a" not in vars(wrapper)["_active_adapter"]
    findings = audit(model).of("PV202")
    assert [(finding.path, finding.adapter) for finding in findings] == ([(LM_HEAD, "a")] if inactive else [])
    model.set_adapter("a")
    assert not audit(model).of("PV202") or vars(wrapper)["_disable_adapters"]


def test_head_that_transformers_forgets_to_enable() -> None:
    model = base()
    model.add_adapter(lora(**HEAD), "a")
    model.disable_adapters()
    assert not audit(model).of("PV202")
    model.enable_adapters()
    forgotten = vars(model.lm_head)["_disable_adapters"]
    assert [finding.path for finding in audit(model).of("PV202")] == (["lm_head"] if forgotten else [])


def test_merged_subset() -> None:
    """PR peft#3763: b is active, and not applied."""
    model = two()
    model.base_model.set_adapter(["a", "b"])
    model.merge_adapter(adapter_names=["a"])
    finding = only(audit(model), "PV203")
    assert finding.adapter == "b"
    assert len(finding.rows) == 4


def test_deleted_while_merged() -> None:
    """peft#3498: since 0.21 PEFT refuses; before, the change stays in the base."""
    plain = base()
    model = peft.get_peft_model(plain, lora(), adapter_name="a")
    model.add_adapter("b", lora())
    model.set_adapter("b")
    model.merge_adapter()
    try:
        model.delete_adapter("b")
    except ValueError as refused:
        assert "merged" in str(refused)  # noqa: PT017
        return
    finding = only(audit(model), "PV203")
    assert (finding.adapter, len(finding.rows)) == ("b", 4)


def test_registered_adapter_without_weights() -> None:
    model = two()
    for module in model.modules():
        if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
            module.delete_adapter("b")
    assert only(audit(model), "PV204").adapter == "b"


def test_base_stays_frozen_after_unload() -> None:
    """peft#3025."""
    plain = base()
    before = capture(plain)
    unloaded = peft.get_peft_model(plain, lora()).unload()
    finding = only(audit(unloaded, baseline=before), "PV301")
    assert finding.evidence["parameters"] == len(list(unloaded.parameters()))


def test_base_weights_changed_by_an_initialiser() -> None:
    """peft#1860: PiSSA takes its share out of the base, and deleting it does not give it back."""
    plain = base()
    original = plain.model.layers[0].self_attn.q_proj.weight.detach().clone()
    model = peft.get_peft_model(plain, lora(), adapter_name="a")
    before = capture(model)
    model.add_adapter("b", lora(init_lora_weights="pissa"))
    model.delete_adapter("b")
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    assert not torch.equal(layer.base_layer.weight, original)
    findings = audit(model, baseline=before).of("PV302")
    assert {finding.path.split(".")[-3] for finding in findings} == {"q_proj", "v_proj"}
    assert {finding.severity for finding in findings} == {"warning"}


def test_unload_with_a_head_unties_it() -> None:
    plain = base(tie=True)
    before = capture(plain)
    model = peft.get_peft_model(plain, lora(**HEAD))
    unloaded = model.unload()
    assert unloaded.lm_head.weight is not unloaded.model.embed_tokens.weight
    assert only(audit(unloaded, baseline=before), "PV303").path == "lm_head.weight"


def test_hooks_pile_up_with_gradient_checkpointing() -> None:
    model = base()
    model.gradient_checkpointing_enable()
    before = capture(model)
    for _ in range(4):
        model = peft.get_peft_model(model, lora()).unload()
    embeddings = model.get_input_embeddings()
    finding = only(audit(model, baseline=before), "PV304")
    assert finding.evidence["count"] == len(embeddings._forward_hooks) > 2


def test_hooks_left_by_a_forward_that_raised() -> None:
    """peft#3475."""
    model = two().eval()
    with contextlib.suppress(Exception):
        model(torch.tensor([[1, 2]]), adapter_names=["a"], labels="no labels")
    left = [name for name, module in model.named_modules() if module._forward_pre_hooks]
    findings = audit(model).of("PV304")
    assert [finding.path for finding in findings] == left
    assert {finding.severity for finding in findings} <= {"error"}


def test_cell_run_twice() -> None:
    """peft#2295: the adapter of the same name starts from scratch; around the PeftModel, one more PeftModel."""
    plain = base()
    before = capture(peft.get_peft_model(plain, lora()))
    again = peft.get_peft_model(plain, lora())
    assert only(audit(again, baseline=before), "PV305").adapter == "default"
    nested = peft.get_peft_model(again, lora())
    finding = only(audit(nested), "PV401")
    assert (finding.path, finding.adapter) == ("base_model.model", "default")


@pytest.mark.skipif("XLORA-plain" not in LONE, reason="this PEFT has no X-LoRA that fits")
def test_xlora_switched_off_by_its_own_name() -> None:
    """`set_adapter` hands the name on to the layers, which then run none of the adapters that X-LoRA mixes."""
    case = LONE["XLORA-plain"]
    handle = Handle("peft", case.build())
    handle.add("a", case.first(), seed=1)
    mixed = output(handle.model)
    assert not audit(handle.model).of("PV201")
    handle.model.set_adapter("a")
    try:
        off = not torch.equal(output(handle.model), mixed)
    except KeyError:  # older ones look for weights of that name, and say so loudly
        return
    assert bool(audit(handle.model).of("PV201")) == off


def test_target_that_matches_nothing() -> None:
    result = audit(peft.get_peft_model(base(), lora("q_proj", "c_attn")))
    assert only(result, "PV403").evidence["missing"] == ["c_attn"]
    assert result.clean


def test_audit_changes_nothing_and_refuses_what_is_no_model() -> None:
    model = two(lora(**HEAD), lora(**HEAD))
    delete_per_layer(model, "b")
    before = capture(model, values="full")
    audit(model)
    assert capture(model, values="full") == before
    with pytest.raises(ModelError):
        audit("model")  # type: ignore[arg-type]


def test_a_saved_snapshot_is_audited_without_torch(tmp_path: Path) -> None:
    model = two(lora(**HEAD), lora(**HEAD))
    delete_per_layer(model, "b")
    path = capture(model).save(tmp_path / "model.pvz")
    program = (
        "import sys, peftviz\n"
        f"found = peftviz.audit(peftviz.load({str(path)!r}))\n"
        "print([(finding.rule, finding.path) for finding in found])\n"
        "print(sorted({'torch', 'peft', 'transformers'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path.cwd())
    here = [(finding.rule, finding.path) for finding in audit(model)]
    assert ("PV101", f"{LM_HEAD}.modules_to_save.b") in here
    assert ran.stdout.splitlines() == [str(here), "[]"]
