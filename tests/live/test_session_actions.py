"""What a session does for the user: corrected deletion and repair, each one step."""

from __future__ import annotations

import gc

import pytest
import torch

from peftviz.errors import AdapterError, SessionClosedError
from peftviz.live.removal.deletion import delete_adapter
from peftviz.live.sessions.session import Session, watch
from tests.live.watched import PEFT_WARNS, get_peft_model, llama, lora, tokens

pytestmark = [pytest.mark.filterwarnings(rule) for rule in PEFT_WARNS]


def operations(session: Session) -> list[str]:
    return [step.operation for step in session.timeline]


def test_deletion_down_to_the_base_is_one_step_each_and_ends_where_it_began() -> None:
    base = llama()
    logits = base(tokens()).logits
    with watch(base) as session:
        model = get_peft_model(base, lora(modules_to_save=["lm_head"]), "a")
        model.add_adapter("b", lora(modules_to_save=["lm_head"]))
        assert any("lm_head" in action.path for action in session.plan_deletion("b").actions)
        assert len(session.timeline) == 2, "a plan is no step"
        assert session.delete_adapter("b").model is model
        assert session.model is model
        report = session.delete_adapter("a")
        assert report.model is base
        assert session.model is base
    assert operations(session) == [
        "get_peft_model",
        "add_adapter",
        "peftviz.delete_adapter",
        "peftviz.delete_adapter",
    ]
    assert report.freed.tensors > 0
    assert not report.freed.alive, "nothing of the session keeps a deleted tensor alive"
    assert session.timeline.snapshots[-1] == session.baseline
    assert torch.equal(base(tokens()).logits, logits)


def test_deletion_by_the_function_is_the_same_step() -> None:
    base = llama()
    model = get_peft_model(base, lora(), "a")
    with watch(model) as session:
        delete_adapter(model, "a")
        assert session.model is base
    (step,) = session.timeline
    assert (step.label, step.arguments["adapter"]) == ("peftviz.delete_adapter('a')", "'a'")


def test_a_refused_deletion_is_recorded_and_changes_nothing() -> None:
    model = get_peft_model(llama(), lora(), "a")
    with watch(model) as session:
        with pytest.raises(AdapterError):
            session.delete_adapter("z")
        with pytest.raises(AdapterError):
            session.plan_deletion("z")
    (step,) = session.timeline
    assert step.error is not None
    assert step.error.startswith("AdapterError: ")
    assert step.after is step.before


def test_repair_is_one_step_that_removes_what_an_idiom_left() -> None:
    base = llama()
    model = get_peft_model(base, lora(modules_to_save=["lm_head"]), "a")
    with watch(model) as session:
        model.add_adapter("b", lora(modules_to_save=["lm_head"]))
        with session.step("delete layer by layer"):
            for module in model.modules():
                if "lora_A" in getattr(module, "adapter_layer_names", ()):
                    module.delete_adapter("b")
            del model.peft_config["b"]
        left = session.timeline[-1]
        assert any("modules_to_save" in finding.path for finding in left.findings), left.findings
        report = session.repair()
        assert report.model is session.model is model
    assert operations(session) == ["add_adapter", "step", "peftviz.repair"]
    copy = "base_model.model.lm_head.modules_to_save.b"
    left.after.module(copy)
    assert copy in {change.path for change in session.timeline[-1].diff if change.kind == "removed"}
    assert not any("modules_to_save" in finding.path for finding in session.timeline[-1].findings)


@pytest.fixture
def inspected() -> Session:
    pytest.importorskip("anywidget")
    model = get_peft_model(llama(), lora(), "a")
    session = watch(model)
    model.add_adapter("b", lora())
    return session


def test_the_widget_of_a_session_follows_its_steps(inspected: Session) -> None:
    inspector = inspected.inspector
    assert inspected.inspector is inspector
    table = inspector._table
    inspected.model.delete_adapter("b")
    assert len(inspector._steps) == len(inspected.timeline) + 1 == 3
    assert inspector._table != table
    inspected.close()


def test_the_buttons_act_on_the_session_until_it_is_closed(inspected: Session) -> None:
    actions = inspected.inspector._actions
    assert {"capture", "delete", "plan", "plan_operation", "repair", "set_adapter"} <= set(actions)
    assert actions["plan"]("b").adapter == "b"
    actions["delete"]("b")
    assert inspected.timeline[-1].operation == "peftviz.delete_adapter"
    assert list(inspected.model.peft_config) == ["a"]
    inspected.close()
    with pytest.raises(SessionClosedError):
        actions["delete"]("a")


def test_the_buttons_of_a_session_that_is_gone_say_so() -> None:
    pytest.importorskip("anywidget")
    session = watch(llama())
    inspector = session.inspector
    del session
    gc.collect()
    with pytest.raises(SessionClosedError, match="gone"):
        inspector._actions["repair"]()
