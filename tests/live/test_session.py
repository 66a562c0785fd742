"""Sessions: what they record, what they say to go on with, how they end."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import weakref

import pytest
import torch
from peft import IA3Config

from peftviz.core.timeline import BY_HAND, OUTSIDE
from peftviz.errors import ModelError, SessionClosedError
from peftviz.live.sessions.session import Session, watch
from tests.live.watched import PEFT_WARNS, WarningModel, get_peft_model, inject_adapter_in_model, llama, lora, tokens

pytestmark = [pytest.mark.filterwarnings(rule) for rule in PEFT_WARNS]


def operations(session: Session) -> list[str]:
    return [step.operation for step in session.timeline]


def test_each_operation_is_one_step_under_the_name_the_user_called() -> None:
    base = llama()
    with watch(base) as session:
        model = get_peft_model(base, lora(), "a")
        model.add_adapter("b", lora())
        model.set_adapter("b")
        model.delete_adapter("b")
        model.merge_adapter()
        model.unmerge_adapter()
        model.unload()
    assert operations(session) == [
        "get_peft_model",
        "add_adapter",
        "set_adapter",
        "delete_adapter",
        "merge_adapter",
        "unmerge_adapter",
        "unload",
    ]
    assert [step.label for step in session.timeline][:3] == [
        "get_peft_model('a')",
        "add_adapter('b')",
        "set_adapter('b')",
    ]


def test_the_steps_carry_what_changed() -> None:
    base = llama()
    with watch(base) as session:
        model = get_peft_model(base, lora(), "a")
        model.add_adapter("b", lora())
        model.delete_adapter("b")
    added = {change.path for change in session.timeline[1].diff if change.kind == "added"}
    removed = {change.path for change in session.timeline[2].diff if change.kind == "removed"}
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.b" in added
    assert {path for path in added if path.endswith(".weight")} == {
        path for path in removed if path.endswith(".weight")
    }
    assert session.timeline[0].diff.renames["model.layers.0.self_attn.q_proj"].endswith("q_proj.base_layer")


def test_methods_of_a_transformers_model_and_injection_are_steps() -> None:
    base = llama()
    with watch(base) as session:
        base.add_adapter(lora(), "a")
        base.disable_adapters()
        base.enable_adapters()
        base.set_adapter("a")
        base.delete_adapter("a")
        inject_adapter_in_model(lora(), base, "b")
    assert operations(session) == [
        "add_adapter",
        "disable_adapters",
        "enable_adapters",
        "set_adapter",
        "delete_adapter",
        "inject_adapter_in_model",
    ]
    assert session.model is base


def test_model_follows_the_handle_to_go_on_with() -> None:
    base = llama()
    session = watch(base)
    assert session.model is base
    model = get_peft_model(base, lora())
    assert session.model is model
    assert model.unload() is base
    assert session.model is base
    again = get_peft_model(base, lora())
    assert session.model is again
    again.merge_and_unload()
    assert session.model is base
    session.close()


def test_model_stays_when_only_a_part_of_it_gets_a_handle() -> None:
    base = llama()
    with watch(base) as session:
        part = get_peft_model(base.model.layers[0].mlp, lora().__class__(target_modules=["up_proj"]))
        assert session.model is base
        part.unload()
        assert session.model is base
    assert operations(session) == ["get_peft_model", "unload"]


def test_a_loaded_adapter_is_one_step(tmp_path: object) -> None:
    source = get_peft_model(llama(), lora(), "a")
    source.save_pretrained(str(tmp_path))
    base = llama()
    with watch(base) as session:
        model = type(source).from_pretrained(base, f"{tmp_path}/a", "a")
        model.load_adapter(f"{tmp_path}/a", "b")
        assert session.model is model
    assert operations(session) == ["from_pretrained", "load_adapter"]
    assert session.timeline[1].arguments["adapter_name"] == "'b'"


def test_a_failed_operation_is_recorded_with_what_it_left() -> None:
    base = llama()
    model = get_peft_model(base, lora(), "a")
    with watch(model) as session:
        with pytest.raises(ValueError, match="different"):
            model.add_adapter("b", IA3Config(target_modules=["q_proj"], feedforward_modules=[]))
        with pytest.raises(Exception, match=r"missing|not found|not present|does not exist"):
            model.set_adapter("missing")
    first, second = session.timeline
    assert first.failed
    assert first.error is not None
    assert first.error.startswith("ValueError: ")
    assert (first.operation, second.operation) == ("add_adapter", "set_adapter")
    assert second.error is not None
    assert not second.diff


class _Interrupted(torch.nn.Linear):
    """A layer that the user's Ctrl-C hits while PEFT looks at it."""

    @property
    def in_features(self) -> int:
        raise KeyboardInterrupt

    @in_features.setter
    def in_features(self, value: int) -> None: ...


def test_an_interrupt_is_recorded_and_passes_on() -> None:
    base = torch.nn.Sequential(torch.nn.Linear(4, 4), _Interrupted(4, 4))
    with watch(base) as session, pytest.raises(KeyboardInterrupt):
        get_peft_model(base, type(lora())(target_modules=["0", "1"]))
    (step,) = session.timeline
    assert step.error == "KeyboardInterrupt"
    assert any(change.kind == "added" and "lora_A" in change.path for change in step.diff), "layer 0 keeps its adapter"


def test_arguments_are_short_texts_that_run_no_foreign_code() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise AssertionError("called")

    model = get_peft_model(llama(), lora(), "a")
    with watch(model) as session:
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever PEFT says of it
            model.add_adapter("b", Hostile())
        model.add_adapter("c", lora(modules_to_save=["lm_head"]))
    hostile, step = session.timeline
    assert hostile.arguments == {"adapter_name": "'b'", "peft_config": "Hostile"}
    config = step.arguments["peft_config"]
    assert config.startswith("LoraConfig(r=4, target_modules={'q_proj', 'v_proj'}, modules_to_save=['lm_head']")


def test_warnings_are_recorded_and_still_reach_the_user() -> None:
    model = WarningModel(llama(), lora(), "a")
    with watch(model) as session:
        with pytest.warns(UserWarning, match="of the user's own"):
            model.set_adapter("a")
        model.merge_adapter()
    assert session.timeline[0].warnings == ("UserWarning: of the user's own at 0x…",)
    assert not session.timeline[1].warnings


def test_a_step_by_hand_takes_the_operations_inside_with_it() -> None:
    base = llama()
    model = get_peft_model(base, lora(modules_to_save=["lm_head"]), "a")
    model.add_adapter("b", lora(modules_to_save=["lm_head"]))
    with watch(model) as session:
        with session.step("layer by layer") as same:
            assert same is session
            model.set_adapter("a")
            for module in model.modules():
                if "lora_A" in getattr(module, "adapter_layer_names", ()):
                    module.delete_adapter("b")
            with session.step("inner"):
                pass
        assert len(session.timeline) == 1
    (step,) = session.timeline
    assert (step.operation, step.label) == (BY_HAND, "layer by layer")
    gone = {change.path for change in step.diff if change.kind == "removed"}
    assert any("lora_A.b" in path for path in gone)
    assert not any("modules_to_save.b" in path for path in gone)
    step.after.module("base_model.model.lm_head.modules_to_save.b")


def test_a_failed_step_by_hand_is_recorded() -> None:
    model = llama()

    def stop() -> None:
        model.lm_head.weight.requires_grad_(False)
        raise RuntimeError("stop")

    with watch(model) as session, pytest.raises(RuntimeError, match="stop"), session.step("half"):
        stop()
    (step,) = session.timeline
    assert step.error == "RuntimeError: stop"
    assert [(change.path, change.field) for change in step.diff] == [("lm_head.weight", "requires_grad")]


def test_changes_between_operations_are_a_step_of_their_own() -> None:
    model = get_peft_model(llama(), lora(), "a")
    with watch(model) as session:
        with torch.no_grad():
            model.base_model.model.lm_head.weight.add_(1)
        model.set_adapter("a")
    assert operations(session) == [OUTSIDE, "set_adapter"]
    weight = "base_model.model.lm_head.weight"
    assert {change.path for change in session.timeline[0].diff} == {weight}
    assert weight not in {change.path for change in session.timeline[1].diff}


def test_a_forward_between_operations_is_no_change() -> None:
    model = get_peft_model(llama(), lora(), "a")
    with watch(model) as session:
        model(tokens())
        model.set_adapter("a")
        model(tokens())
    assert operations(session) == ["set_adapter"]


def test_the_steps_are_one_chain_from_the_baseline() -> None:
    base = llama()
    with watch(base) as session:
        model = get_peft_model(base, lora(), "a")
        base.train()
        model.add_adapter("b", lora())
    timeline = session.timeline
    assert timeline.snapshots[0] is session.baseline
    assert all(step.before is timeline.snapshots[place] for place, step in enumerate(timeline))
    assert operations(session) == ["get_peft_model", OUTSIDE, "add_adapter"]


def test_capture_shows_what_was_done_by_hand_so_far() -> None:
    model = llama()
    with watch(model) as session:
        assert session.capture() is session.baseline
        model.lm_head.weight.requires_grad_(False)
        assert not session.capture().tensor("lm_head.weight").requires_grad
        assert operations(session) == [OUTSIDE]


def test_a_change_that_no_diff_shows_is_named() -> None:
    base = llama()
    with watch(base) as session:
        base.config.use_cache = not base.config.use_cache
        session.capture()
        base.config.update({"aa": 1, "ab": 2, "ac": 3, "ad": "<b>"})
        session.capture()
        base.note = "<b>"
        session.capture()
        base.model.layers[0].mlp.train()
        base.config.use_cache = not base.config.use_cache
    outside = "changes outside a recorded operation"
    assert [step.label for step in session.timeline] == [
        f"{outside}: config.use_cache",
        f"{outside}: config.aa, config.ab, config.ac and 1 more",
        f"{outside}: note",
        outside,
    ]
    assert [bool(step.diff) for step in session.timeline] == [False, False, False, True]


def test_what_was_done_last_is_in_the_timeline_after_closing() -> None:
    model = llama()
    session = watch(model)
    model.train()
    session.close()
    session.close()
    assert operations(session) == [OUTSIDE]


def test_a_closed_session_acts_no_more_and_stays_readable() -> None:
    base = llama()
    session = watch(base)
    model = get_peft_model(base, lora())
    session.close()
    assert session.model is model
    model.delete_adapter("default")
    assert operations(session) == ["get_peft_model"]
    assert session.closed
    for call in (
        session.capture,
        session.repair,
        lambda: session.delete_adapter("default"),
        lambda: session.plan_deletion("default"),
        session.step("x").__enter__,
        session.__enter__,
    ):
        with pytest.raises(SessionClosedError) as caught:
            call()
        assert caught.value.what
        assert caught.value.where
        assert caught.value.hint
    assert repr(session) == "Session(closed, 1 step from LlamaForCausalLM)"


def test_a_closed_session_lets_go_of_the_model() -> None:
    model = llama()
    session = watch(model)
    session.close()
    assert session.model is model
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    with pytest.raises(SessionClosedError, match="let go"):
        _ = session.model


@pytest.mark.parametrize("thing", [None, "model", LookupError, {"a": 1}])
def test_watching_something_else_is_a_clear_error(thing: object) -> None:
    with pytest.raises(ModelError) as caught:
        watch(thing)  # type: ignore[arg-type]
    assert caught.value.what
    assert caught.value.where


def test_a_session_shows_itself_as_text_without_a_notebook() -> None:
    base = llama()
    with watch(base) as session:
        get_peft_model(base, lora(), "a")
        bundle = session._repr_mimebundle_()
        text = session.to_text()
    assert "get_peft_model('a')" in text
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "get_peft_model('a')" in data["text/plain"]
    assert not re.search(r"0x[0-9a-f]{6}", text)


LATE = """
import sys, torch, peftviz
assert "peft" not in sys.modules
model = torch.nn.Sequential(torch.nn.Linear(4, 4))
session = peftviz.watch(model)
from peft import LoraConfig, get_peft_model
peft_model = get_peft_model(model, LoraConfig(target_modules=["0"]))
assert session.model is peft_model
print([step.operation for step in session.timeline])
"""


def test_peft_may_be_imported_after_the_watch_began() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", LATE], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['get_peft_model']", done.stderr
