"""Findings of a session name the steps that brought them about, and how far a merge moved the base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import peft
import pytest
import torch

import peftviz
from peftviz.auditing import assert_clean, audit
from peftviz.core.timeline import Timeline
from peftviz.live.sessions.session import Session, watch
from tests.live.audited import HEAD, base, delete_per_layer, lora, two

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PEFT warns of some of what is done here on purpose
    pytest.mark.usefixtures("sentences"),
]


@pytest.fixture
def watched() -> Iterator[Any]:
    """Opens sessions and closes them in the end."""
    opened: list[Session] = []

    def open_(model: torch.nn.Module) -> Session:
        opened.append(watch(model, values="full", display=False))
        return opened[-1]

    yield open_
    for session in opened:
        session.close()


def test_a_flag_names_the_step_that_flipped_it(watched: Any) -> None:
    session = watched(base())
    model = peft.get_peft_model(session.model, lora(), adapter_name="a")
    model.add_adapter("b", lora("k_proj"))
    model.unload()
    (finding,) = audit(session).of("PV301")
    assert finding.evidence["steps"] == [
        {"step": 1, "label": "get_peft_model('a')", "operation": "get_peft_model", "parameters": 21}
    ]
    assert finding.message.endswith("and do not now (step 1, get_peft_model('a')).")
    assert audit(session.timeline) == audit(session)


def test_flags_flipped_by_several_steps_name_each(watched: Any) -> None:
    session = watched(two())
    layers = session.model.base_model.model.model.layers
    with session.step("thaw one"):
        layers[0].mlp.up_proj.weight.requires_grad_(True)
    with session.step("thaw and freeze"):
        layers[1].mlp.up_proj.weight.requires_grad_(True)
        layers[1].mlp.up_proj.weight.requires_grad_(False)
    layers[1].mlp.down_proj.weight.requires_grad_(True)
    (finding,) = audit(session).of("PV301")
    assert [(step["step"], step["operation"], step["parameters"]) for step in finding.evidence["steps"]] == [
        (1, "step", 1),
        (3, "outside", 1),
    ]


def test_an_initialiser_is_named_with_its_step_and_its_config(watched: Any) -> None:
    """peft#1860."""
    session = watched(two())
    session.model.add_adapter("c", lora(init_lora_weights="pissa"))
    session.model.delete_adapter("c")
    findings = audit(session).of("PV302")
    assert {finding.evidence["cause"] for finding in findings} == {"initialiser"}
    assert {finding.adapter for finding in findings} == {"c"}
    assert {finding.severity for finding in findings} == {"warning"}
    for finding in findings:
        assert finding.evidence["config"] == {"init_lora_weights": "pissa"}
        assert [step["label"] for step in finding.evidence["steps"]] == ["add_adapter('c')"]
        assert "init_lora_weights='pissa'" in finding.message


def test_what_merging_and_unmerging_left_is_measured(watched: Any) -> None:
    session = watched(two())
    weight = session.model.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight
    before = weight.detach().clone()
    session.model.merge_adapter(["a"])
    assert session.timeline[-1].drift == ()
    merged = weight.detach().clone()
    session.model.unmerge_adapter()
    drifts = {drift.path: drift for drift in session.timeline[-1].drift}
    path = "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight"
    drift = drifts[path]
    assert drift.compared == weight.numel(), "so small a weight is compared as a whole"
    assert drift.difference == float((weight.double() - before.double()).abs().max()) > 0
    assert drift.scale == float(torch.maximum(before.abs(), merged.abs()).max())
    findings = audit(session).of("PV302")
    assert {finding.evidence["cause"] for finding in findings} == {"merge"}
    assert {finding.severity for finding in findings} == {"info"}
    of_q = next(finding for finding in findings if path in finding.evidence["paths"])
    same = [drift for name, drift in drifts.items() if "q_proj" in name]
    assert of_q.evidence["drift"][0]["largest_difference"] == max(drift.difference for drift in same)
    assert of_q.evidence["steps"][0]["label"] == "unmerge_adapter"
    assert_clean(session)


def test_drift_beyond_rounding_is_a_warning(watched: Any) -> None:
    session = watched(two())
    session.model.merge_adapter(["a"])
    with torch.no_grad():  # the adapter is changed while it is merged: unmerging takes something else out
        session.model.base_model.model.model.layers[0].self_attn.q_proj.lora_B["a"].weight += 1
    session.model.unmerge_adapter()
    found = {finding.path.split(".")[-3]: finding.severity for finding in audit(session).of("PV302")}
    assert found["q_proj"] == "warning"
    assert found["v_proj"] == "info"


def test_a_trained_bias_and_training_of_the_base(watched: Any) -> None:
    plain = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    session = watched(plain)
    model = peft.get_peft_model(plain, lora("0", bias="all"), adapter_name="a")
    with torch.no_grad():
        model.base_model.model[1].bias += 1
        model.base_model.model[1].weight += 1
    causes = {finding.path: finding for finding in audit(session).of("PV302")}
    bias = causes["base_model.model.1.bias"]
    assert (bias.evidence["cause"], bias.severity, bias.adapter) == ("bias", "info", "a")
    weight = causes["base_model.model.1.weight"]
    assert (weight.evidence["cause"], weight.severity) == ("outside", "error")
    assert weight.evidence["steps"][0]["operation"] == "outside"


def test_a_leftover_names_the_step_it_came_with_and_keeps_it(watched: Any) -> None:
    session = watched(two(lora(**HEAD), lora(**HEAD)))
    with session.step("my own clean-up"):
        delete_per_layer(session.model, "b")
    session.model.add_adapter("c", lora("k_proj"))
    (finding,) = audit(session).of("PV101")
    assert finding.evidence["since"] == {"step": 1, "label": "my own clean-up", "operation": "step"}
    assert session.timeline[0].audit.of("PV101")[0].evidence["since"] == finding.evidence["since"]


def test_a_leftover_names_the_step_that_put_it_there(watched: Any) -> None:
    session = watched(base())
    model = peft.get_peft_model(session.model, lora(**HEAD), adapter_name="a")
    model.add_adapter("b", lora(**HEAD))
    with session.step("my own clean-up"):
        delete_per_layer(session.model, "b")
    session.model.set_adapter("a")
    (finding,) = audit(session).of("PV101")
    assert finding.evidence["came_with"] == {"step": 2, "label": "add_adapter('b')", "operation": "add_adapter"}
    assert finding.evidence["since"]["step"] == 3


def test_what_was_there_when_the_watch_began_names_no_step(watched: Any) -> None:
    model = two(lora(**HEAD), lora(**HEAD))
    delete_per_layer(model, "b")
    session = watched(model)
    model.add_adapter("c", lora("k_proj"))
    (finding,) = audit(session).of("PV101")
    assert not {"since", "came_with"} & set(finding.evidence)


def test_a_loaded_timeline_tells_the_same(watched: Any, tmp_path: Any) -> None:
    session = watched(two())
    session.model.merge_adapter(["a"])
    session.model.unmerge_adapter()
    loaded = Timeline.load(session.timeline.save(tmp_path / "steps"))
    assert list(audit(loaded)) == list(audit(session))
    assert audit(loaded[0]).of("PV302") == ()


def test_a_session_is_looked_at_and_its_own_baseline_can_be_replaced(watched: Any) -> None:
    session = watched(base())
    assert audit(session).snapshot is session.baseline
    model = peft.get_peft_model(session.model, lora(), adapter_name="a")
    later = peftviz.capture(model, values="full")
    with torch.no_grad():
        model.base_model.model.lm_head.weight += 1
    assert [finding.path for finding in audit(session, baseline=later)] == ["base_model.model.lm_head.weight"]
