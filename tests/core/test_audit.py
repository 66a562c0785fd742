"""Each rule on a stand-in: silent on the healthy one, and exact about the bent one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from peftviz.auditing import assert_clean, audit
from peftviz.core.audit import Audit, Finding, audit_snapshot
from peftviz.core.finding import SEVERITIES
from peftviz.core.rules import RULES
from peftviz.core.tables import Role
from peftviz.errors import AuditFailure
from tests.core.audited import Audited

pytestmark = pytest.mark.usefixtures("sentences")

HEAD = "base_model.model.head"
DOCS = Path(__file__).parents[2] / "docs" / "rules"


def found(bent: Audited, rule: str, baseline: Any = None) -> list[Finding]:
    return list(audit_snapshot(bent.model().snapshot(), baseline=baseline).of(rule))


def rules_of(result: Audit) -> set[str]:
    return {finding.rule for finding in result}


def test_a_healthy_model_has_no_finding() -> None:
    healthy = Audited().model().snapshot()
    assert list(audit_snapshot(healthy)) == []
    assert list(audit_snapshot(healthy, baseline=healthy)) == []


def test_leftover_copy_is_named_with_its_bytes() -> None:
    bent = Audited()
    bent.forget("b", head=False)
    result = audit_snapshot(bent.model().snapshot())
    assert rules_of(result) == {"PV101"}
    (finding,) = result
    assert finding.path == f"{HEAD}.modules_to_save.b"
    assert finding.adapter == "b"
    assert finding.message == "A trained copy of head outlived its adapter."
    assert finding.evidence["bytes"] == 24
    assert finding.evidence["parameters"] == 6
    assert finding.evidence["trainable"] == 0
    assert finding.severity == "warning"
    assert finding.repairable
    assert [result.snapshot.module_path(row) for row in finding.rows] == [finding.path]


def test_leftovers_alike_make_one_finding_with_all_rows() -> None:
    bent = Audited()
    del bent.root.children["base_model"].children["model"].children["head"]
    model = bent.root.children["base_model"].children["model"]
    model.children["heads"] = bent.node("torch.nn.ModuleList")
    for index in range(3):
        model.children["heads"].children[str(index)] = bent.wrapper(["a", "b"], "a")
    bent.forget("b", head=False)
    (finding,) = found(bent, "PV101")
    assert finding.evidence["modules"] == 3
    assert finding.evidence["bytes"] == 72
    assert len(finding.rows) == 3


def test_ghost_is_one_finding_for_all_its_layers() -> None:
    bent = Audited()
    bent.registered.remove("b")
    (finding,) = found(bent, "PV103")
    assert finding.adapter == "b"
    assert finding.evidence["layers"] == 3  # two LoRA layers and the head
    assert finding.evidence["bytes"] == 72
    assert not found(bent, "PV101")


def test_known_at_the_baseline_means_leftover_not_ghost() -> None:
    bent = Audited()
    baseline = bent.model().snapshot()
    bent.forget("b", layers=False, head=False)
    assert not found(bent, "PV103", baseline)
    assert {finding.adapter for finding in found(bent, "PV101", baseline)} == {"b"}


def test_without_any_registry_only_copies_without_layers_are_leftovers() -> None:
    bent = Audited()
    bent.forget("b", head=False)
    model = bent.model()
    model.adapter_state = type(model.adapter_state)(handle="injected", active=("a",))
    assert [finding.path for finding in audit_snapshot(model.snapshot()).of("PV101")] == [f"{HEAD}.modules_to_save.b"]


def test_empty_wrappers_warn_beside_the_living_and_are_errors_alone() -> None:
    bent = Audited()
    bent.layers["v"].children["lora_A"].children.clear()
    (finding,) = found(bent, "PV102")
    assert (finding.path, finding.severity) == ("base_model.model.v", "warning")
    assert not found(bent, "PV402")
    for name in ("a", "b"):
        bent.layers["v"].children["lora_A"].children[name] = bent.linear(Role.ADAPTER, name)
        bent.forget(name)
    assert {finding.path: finding.severity for finding in found(bent, "PV102")} == dict.fromkeys(
        ["base_model.model.q", "base_model.model.v", HEAD], "error"
    )
    (unsafe,) = found(bent, "PV402")
    assert unsafe.evidence["keys"] == 3
    assert unsafe.evidence["bytes"] == 72


@pytest.mark.parametrize("name", ["b", "a b", "données", "model", "use_dora", "r"])
def test_names_in_undeclared_attributes(name: str) -> None:
    bent = Audited(["a", name])
    bent.forget(name)
    bent.layers["q"].state["lora_variant"] = {"a": None, name: None}
    bent.layers["v"].state["allocator"] = {"!type": "peft.X", "attributes": {"name": name}}
    (finding,) = found(bent, "PV104")
    assert finding.adapter == name
    assert finding.evidence["attributes"] == {"allocator.name": 1, "lora_variant": 1}
    assert len(finding.rows) == 2


def test_dictionaries_that_are_not_keyed_by_adapters_are_left_alone() -> None:
    bent = Audited(["a", "device_map"])
    bent.layers["q"].state["options"] = {"device_map": {}, "target": "q", "eight_bit": False}
    assert list(audit_snapshot(bent.model().snapshot())) == []


def test_names_left_after_the_last_adapter_are_those_two_attributes_share() -> None:
    bent = Audited(["a"])
    bent.forget("a")
    bent.layers["q"].state |= {"use_dora": {"a": False}, "lora_bias": {"a": False}, "options": {"x": 1}}
    (finding,) = found(bent, "PV104")
    assert finding.adapter == "a"
    assert finding.evidence["attributes"] == {"_active_adapter": 3, "lora_bias": 1, "use_dora": 1}


def test_stale_handle() -> None:
    bent = Audited()
    bent.forget("a")
    bent.tuner.state["active_adapter"] = ["b"]
    for module in (*bent.layers.values(), bent.head):
        module.state["_active_adapter"] = ["b"]
    (finding,) = found(bent, "PV201")
    assert (finding.path, finding.adapter) == ("", "a")
    assert finding.message == "PeftModel calls 'a' active, but no config of that name is left."


def test_layer_that_runs_another_adapter_than_reported() -> None:
    bent = Audited()
    bent.layers["v"].state["_active_adapter"] = ["b"]
    (finding,) = found(bent, "PV201")
    assert finding.path == "base_model.model.v"
    assert finding.evidence["runs"] == ["b"]
    assert finding.evidence["expected"] == ["a"]


def test_active_names_may_be_strings() -> None:
    bent = Audited()
    bent.tuner.state["active_adapter"] = "a"
    bent.head.state["_active_adapter"] = "a"
    assert list(audit_snapshot(bent.model().snapshot())) == []


def test_partly_disabled_layers() -> None:
    bent = Audited()
    bent.layers["v"].state["_disable_adapters"] = True
    (finding,) = found(bent, "PV201")
    assert finding.evidence == {"disabled": 1, "layers": 2}
    for module in (bent.layers["q"], bent.head):
        module.state["_disable_adapters"] = True
    assert list(audit_snapshot(bent.model().snapshot())) == []


@pytest.mark.parametrize("change", [{"_active_adapter": []}, {"_disable_adapters": True}])
def test_active_adapter_with_inactive_copy(change: dict[str, Any]) -> None:
    bent = Audited()
    bent.head.state |= change
    result = audit_snapshot(bent.model().snapshot())
    assert rules_of(result) == {"PV202"}
    assert (result[0].path, result[0].adapter, result[0].severity) == (HEAD, "a", "error")


def test_merged_subset_and_merged_but_gone() -> None:
    bent = Audited()
    for layer in bent.layers.values():
        layer.state |= {"_active_adapter": ["a", "b"], "merged_adapters": ["a"]}
    bent.tuner.state["active_adapter"] = ["a", "b"]
    (subset,) = found(bent, "PV203")
    assert (subset.adapter, subset.evidence["modules"]) == ("b", 2)
    gone = Audited()
    gone.forget("b")
    gone.layers["q"].state["merged_adapters"] = ["b"]
    (finding,) = [finding for finding in found(gone, "PV203") if "deleted" in finding.message]
    assert (finding.path, finding.adapter) == ("base_model.model.q", "b")


def test_merged_single_adapter_is_healthy() -> None:
    bent = Audited()
    for layer in bent.layers.values():
        layer.state["merged_adapters"] = ["a"]
    assert list(audit_snapshot(bent.model().snapshot())) == []


def test_registered_without_weights() -> None:
    bent = Audited()
    bent.registered.append("c")
    bent.configs["c"] = {}
    (finding,) = found(bent, "PV204")
    assert (finding.adapter, finding.severity) == ("c", "error")
    for layer in bent.layers.values():
        del layer.children["lora_A"].children["b"]
    assert {finding.adapter: finding.evidence["copies_only"] for finding in found(bent, "PV204")} == {
        "b": True,
        "c": False,
    }


def plain_baseline(bent: Audited) -> Any:
    """The base that `bent` wraps: the same objects, trainable, with no adapter around them."""
    base = bent.node("models.Tiny")
    for name, layer in bent.layers.items():
        base.children[name] = layer.children["base_layer"]
    base.children["head"] = bent.head.children["original_module"]
    for module in base.children.values():
        module.tensors["weight"].role = module.role = Role.BASE
        module.tensors["weight"].tensor.requires_grad = True
    baseline = type(bent.model())(base, scope=bent.scope).snapshot()
    for module in base.children.values():
        module.tensors["weight"].role = module.role = Role.WRAPPED
        module.tensors["weight"].tensor.requires_grad = False
    return baseline


def test_frozen_base_matters_once_the_adapters_are_gone() -> None:
    bent = Audited()
    baseline = plain_baseline(bent)
    assert not found(bent, "PV301", baseline)
    for name in ("a", "b"):
        bent.forget(name)
    (finding,) = found(bent, "PV301", baseline)
    assert finding.evidence["parameters"] == 3
    assert finding.evidence["elements"] == 18
    assert not finding.evidence["trainable_now"]


def test_thawed_base_is_found_unless_a_bias_setting_explains_it() -> None:
    bent = Audited()
    baseline = bent.model().snapshot()
    bent.layers["q"].children["base_layer"].tensors["weight"].tensor.requires_grad = True
    (finding,) = found(bent, "PV301", baseline)
    assert finding.path == "base_model.model.q.base_layer.weight"
    bent.configs["a"]["bias"] = "all"
    assert not found(bent, "PV301", baseline)


def test_changed_base_weight() -> None:
    bent = Audited()
    baseline = bent.model().snapshot()
    bent.layers["q"].children["base_layer"].tensors["weight"].tensor.fingerprint = 999
    (finding,) = found(bent, "PV302", baseline)
    assert finding.path == "base_model.model.q.base_layer.weight"
    bent.layers["q"].state["merged_adapters"] = ["a"]
    assert not found(bent, "PV302", baseline)


def test_initialiser_of_a_newcomer_is_an_info_and_leaves_the_audit_clean() -> None:
    bent = Audited()
    baseline = plain_baseline(bent)
    bent.layers["q"].children["base_layer"].tensors["weight"].tensor.fingerprint = 999
    result = audit_snapshot(bent.model().snapshot(), baseline=baseline)
    assert [finding.severity for finding in result.of("PV302")] == ["info"]
    assert result.clean


def test_lost_tie() -> None:
    bent = Audited()
    q, head = bent.layers["q"].children["base_layer"], bent.head.children["original_module"]
    own = head.tensors["weight"].tensor
    head.tensors["weight"].tensor = q.tensors["weight"].tensor
    baseline = bent.model().snapshot()
    assert not found(bent, "PV303", baseline)
    head.tensors["weight"].tensor = own
    (finding,) = found(bent, "PV303", baseline)
    assert finding.evidence["were_one"] == ["base_model.model.q.base_layer.weight", f"{HEAD}.original_module.weight"]


def test_piled_up_hooks_and_one_left_by_a_forward() -> None:
    bent = Audited()
    baseline = bent.model().snapshot()
    q = bent.layers["q"]
    q.hooks = ["forward:models.require_grads"] * 3
    (piled,) = found(bent, "PV304", baseline)
    assert (piled.severity, piled.evidence["count"], piled.evidence["at_baseline"]) == ("warning", 3, 0)
    assert not found(bent, "PV304")
    q.hooks = ["forward_pre:peft.tuners.lora.model._adapter_names_pre_forward_hook"]
    (stuck,) = found(bent, "PV304")
    assert stuck.severity == "error"
    q.hooks = ["forward_pre:peft.tuners.shadow.model.ShadowModel._seed_shadow_pre_hook"]
    assert not found(bent, "PV304")


def test_adapter_made_anew() -> None:
    bent = Audited()
    baseline = bent.model().snapshot()
    for layer in bent.layers.values():
        layer.children["lora_A"].children["a"] = bent.linear(Role.ADAPTER, "a", trains=True)
    (finding,) = found(bent, "PV305", baseline)
    assert (finding.adapter, finding.evidence["tensors"]) == ("a", 2)


def test_nested_handles() -> None:
    bent = Audited()
    outer = bent.node("peft.LoraModel", Role.WRAPPER, {"active_adapter": ["a"]}, {"model": bent.root})
    bent.root = bent.node("peft.PeftModel", Role.WRAPPER, {"active_adapter": "a"}, {"base_model": outer})
    model = bent.model()
    state = model.adapter_state
    inner = tuple((f"base_model.model.{path}", names) for path, names in state.registries)
    model.adapter_state = type(state)(state.handle, state.tuner, state.active, state.enabled, inner)
    (finding,) = audit_snapshot(model.snapshot()).of("PV401")
    assert (finding.path, finding.adapter) == ("base_model.model", "a")


def test_target_that_matches_nothing_is_an_info() -> None:
    bent = Audited()
    bent.configs["a"]["target_modules"] = ["c_attn", "model.q", "q", "other.q"]
    (finding,) = found(bent, "PV403")
    assert finding.evidence["missing"] == ["c_attn", "other.q"]
    assert finding.severity == "info"


def test_findings_are_json_ordered_and_the_same_twice() -> None:
    bent = Audited()
    bent.forget("b", head=False)
    bent.head.state["_active_adapter"] = ["b"]
    first, second = (audit_snapshot(bent.model().snapshot()) for _ in range(2))
    assert first == second
    assert [SEVERITIES.index(finding.severity) for finding in first] == sorted(
        SEVERITIES.index(finding.severity) for finding in first
    )
    for finding in first:
        assert json.loads(json.dumps(finding.evidence)) == finding.evidence


def test_assert_clean_lists_the_findings() -> None:
    bent = Audited()
    assert_clean(bent.model().snapshot())
    bent.forget("b", head=False)
    with pytest.raises(AuditFailure) as failure:
        assert_clean(bent.model().snapshot())
    text = str(failure.value)
    assert f"PV101 warning at {HEAD}.modules_to_save.b: A trained copy of head outlived its adapter." in text
    assert "What to do:" in text
    assert isinstance(failure.value, AssertionError)


def test_public_audit_of_a_snapshot_is_the_pure_one() -> None:
    snapshot = Audited().model().snapshot()
    assert audit(snapshot, baseline=snapshot) == audit_snapshot(snapshot, baseline=snapshot)


def test_every_rule_has_a_page_that_says_what_the_rule_says() -> None:
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))
    for rule in RULES:
        assert rule.severity in SEVERITIES
        page = (DOCS / f"{rule.code}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {rule.code}: {rule.title}\n\nSeverity: {rule.severity}. ")
        assert f"\n\n{rule.meaning}\n\n" in page
        parts = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
        assert list(parts) == ["What it means", "Why it hurts", "How it comes about", "Upstream", "What to do"]
        needed = f"Needs {'an' if rule.needs == 'optimizer' else 'a'} {rule.needs}."
        assert (needed in page) == ("Needs" in page.splitlines()[2]) == bool(rule.needs)
        assert ("cannot mend it" in page.splitlines()[2]) <= (not rule.repairable)
        assert parts["What to do"].strip().startswith(rule.remedy.split(". ")[0])
        assert sorted(set(re.findall(r"\w+#\d+", parts["Upstream"]))) == sorted(rule.upstream)
    assert sorted(path.stem for path in DOCS.glob("PV*.md")) == codes


def test_the_index_lists_the_rules_as_they_are() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    rows = [
        f"| [{rule.code}]({rule.code}.md) | {rule.severity} | {rule.meaning} "
        f"| {rule.needs or '–'} | {'yes' if rule.repairable else 'no'} |"
        for rule in RULES
    ]
    assert [line for line in index.splitlines() if line.startswith("| [PV")] == rows


def test_reports_upstream_have_addresses() -> None:
    rule = next(rule for rule in RULES if rule.code == "PV102")
    assert dict(rule.links)["transformers#34650"] == "https://github.com/huggingface/transformers/issues/34650"
