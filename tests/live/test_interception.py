"""The interception: it sees every way in, makes one step of each call, and leaves nothing behind."""

from __future__ import annotations

import gc
import inspect
import threading
import warnings
from types import CodeType, FunctionType

import peft
import pytest
import torch

from peftviz.live.peft_facts import import_peft, operation_functions
from peftviz.live.sessions import interception, recorder
from peftviz.live.sessions.session import Session, watch
from tests.live.watched import (
    PEFT_WARNS,
    PeftMixedModel,
    PeftModel,
    WarningModel,
    get_peft_model,
    llama,
    lora,
    tokens,
)

pytestmark = [pytest.mark.filterwarnings(rule) for rule in PEFT_WARNS]


def operations(session: Session) -> list[str]:
    return [step.operation for step in session.timeline]


def codes() -> dict[FunctionType, tuple[CodeType, dict[str, object]]]:
    import_peft()  # with the modules that PEFT loads late
    return {function: (function.__code__, dict(vars(function))) for function in operation_functions()}


def attributes() -> dict[tuple[type, str], object]:
    classes = {cls for function in (PeftModel, PeftMixedModel) for cls in function.__mro__}
    classes |= {type(llama()), peft.LoraModel, *peft.LoraModel.__mro__}
    return {(cls, name): value for cls in classes - {object} for name, value in vars(cls).items()}


def test_nothing_stays_exchanged() -> None:
    before, held, warn = codes(), attributes(), warnings.warn
    base = llama()
    session = watch(base)
    changed = [function for function, (code, _) in before.items() if function.__code__ is not code]
    assert len(changed) == len(before) > 20
    model = get_peft_model(base, lora())
    with pytest.raises(Exception):  # noqa: B017, PT011 - each PEFT says it differently
        model.set_adapter("missing")
    session.close()
    assert codes() == before
    assert all(function.__code__ is code for function, (code, _) in before.items())
    now = attributes()
    assert all(now[key] is value for key, value in held.items())
    assert warnings.warn is warn


def test_nothing_stays_exchanged_after_an_exception_in_the_block() -> None:
    before = codes()
    with pytest.raises(KeyboardInterrupt), watch(llama()):
        raise KeyboardInterrupt
    assert codes() == before


def test_overlapping_sessions_record_their_own_models() -> None:
    before = codes()
    one, two = llama(), llama()
    first = watch(one)
    second = watch(two)
    model = get_peft_model(one, lora(), "a")
    other = get_peft_model(two, lora(), "b")
    first.close()
    assert codes() != before
    model.add_adapter("c", lora())
    other.add_adapter("d", lora())
    second.close()
    assert codes() == before
    assert [step.label for step in first.timeline] == ["get_peft_model('a')"]
    assert [step.label for step in second.timeline] == ["get_peft_model('b')", "add_adapter('d')"]


def test_two_sessions_on_one_model_both_record() -> None:
    base = llama()
    with watch(base) as outer:
        model = get_peft_model(base, lora(), "a")
        with watch(model) as inner, inner.step("by hand"):
            model.add_adapter("b", lora())
    assert operations(inner) == ["step"]
    assert operations(outer) == ["get_peft_model", "add_adapter"]
    assert inner.baseline == outer.timeline.snapshots[1]


def test_a_session_that_nobody_holds_ends_and_lets_go() -> None:
    before = codes()
    session = watch(llama())
    assert codes() != before
    del session
    assert codes() == before, "at once, without waiting for the garbage collector"
    gc.collect()


def test_operations_on_other_models_are_not_recorded() -> None:
    with watch(llama()) as session:
        other = get_peft_model(llama(), lora())
        other.add_adapter("b", lora())
        other.unload()
    assert not session.timeline


def test_a_model_that_shares_a_module_with_the_watched_one_concerns_it() -> None:
    base = llama()
    outer = torch.nn.ModuleDict({"inner": base})
    with watch(base) as session:
        get_peft_model(outer, lora())
    assert operations(session) == ["get_peft_model"]
    assert session.model is base


def test_bound_methods_taken_before_the_watch_are_seen() -> None:
    model = get_peft_model(llama(), lora(), "a")
    add, delete = model.add_adapter, model.delete_adapter
    with watch(model) as session:
        add("b", lora())
        delete("b")
    assert operations(session) == ["add_adapter", "delete_adapter"]


def test_handles_are_seen_when_built_without_a_function() -> None:
    base = llama()
    with watch(base) as session:
        model = PeftModel(base, lora(), "a")
        assert session.model is model
    assert operations(session) == ["PeftModel"]
    assert session.timeline[0].label == "PeftModel('a')"


def test_mixed_models_are_seen() -> None:
    base = llama()
    with watch(base) as session:
        model = get_peft_model(base, lora(), "a", mixed=True)
        model.add_adapter("b", peft.LoHaConfig(r=4, target_modules=["q_proj"]))
        model.set_adapter(["a", "b"])
    assert isinstance(model, PeftMixedModel)
    assert [step.label for step in session.timeline] == [
        "get_peft_model('a')",
        "add_adapter('b')",
        "set_adapter(['a', 'b'])",
    ]


def test_methods_of_the_tuner_are_seen() -> None:
    model = get_peft_model(llama(), lora(), "a")
    model.add_adapter("b", lora())
    with watch(model) as session:
        model.add_weighted_adapter(["a", "b"], [1.0, 1.0], "both", combination_type="linear")
        model.base_model.disable_adapter_layers()
        model.base_model.enable_adapter_layers()
        model.base_model.set_adapter("both")
        model.merge_and_unload()
    assert operations(session) == [
        "add_weighted_adapter",
        "disable_adapter_layers",
        "enable_adapter_layers",
        "set_adapter",
        "merge_and_unload",
    ]
    assert session.timeline[0].arguments["adapters"] == "['a', 'b']"


def test_subclasses_of_the_user_are_seen_once() -> None:
    class Mine(PeftModel):
        def add_adapter(self, adapter_name: str, peft_config: peft.PeftConfig, **options: object) -> None:
            super().add_adapter(adapter_name, peft_config, **options)
            self.set_adapter(adapter_name)

    model = Mine(llama(), lora(), "a")
    with watch(model) as session:
        model.add_adapter("b", lora())
    assert operations(session) == ["add_adapter"]
    assert model.active_adapter == "b"


def test_the_disabled_block_is_one_step_that_shows_what_it_left() -> None:
    model = get_peft_model(llama(), lora(), "a")
    with watch(model) as session, model.disable_adapter():
        model(tokens())
        assert len(session.timeline) == 0
    (step,) = session.timeline
    assert (step.operation, step.label, step.error) == ("disable_adapter", "disable_adapter", None)
    assert {change.field for change in step.diff} <= {"requires_grad", "state"}


def test_operations_inside_the_disabled_block_are_steps_between_entering_and_leaving() -> None:
    model = get_peft_model(llama(), lora(), "a")
    model.add_adapter("b", lora())
    with watch(model) as session, model.disable_adapter():
        model.set_adapter("b")
    assert [step.label for step in session.timeline] == [
        "disable_adapter entered",
        "set_adapter('b')",
        "disable_adapter left",
    ]
    assert [step.after.adapter_state.enabled for step in session.timeline] == [False, False, True]


def test_an_exception_of_the_user_in_the_disabled_block_is_no_failure_of_it() -> None:
    model = get_peft_model(llama(), lora(), "a")
    with watch(model) as session, pytest.raises(RuntimeError, match="mine"), model.disable_adapter():
        raise RuntimeError("mine")
    (step,) = session.timeline
    assert step.error is None
    assert step.after.adapter_state.enabled


def test_a_signature_reads_the_same_while_watched() -> None:
    import_peft()
    plain = {function: inspect.signature(function) for function in operation_functions()}
    with watch(llama()):
        assert {function: inspect.signature(function) for function in plain} == plain
        assert "autocast_adapter_dtype" in inspect.signature(get_peft_model).parameters


def test_results_and_errors_are_those_of_the_call_without_a_watch() -> None:
    base = llama()
    with pytest.raises(TypeError) as plain:
        get_peft_model()
    with watch(base) as session:
        with pytest.raises(TypeError) as watched:
            get_peft_model()
        model = get_peft_model(base, peft_config=lora(), adapter_name="a")
        assert isinstance(model, PeftModel)
        assert list(model.peft_config) == ["a"]
    assert str(watched.value) == str(plain.value)
    assert operations(session) == ["get_peft_model"]


def test_a_warning_that_filters_make_an_error_stops_the_operation_where_it_did_before() -> None:
    model = WarningModel(llama(), lora(), "a")
    model.add_adapter("b", lora())
    with watch(model) as session, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="of the user's own"):
            model.set_adapter("b")
    (step,) = session.timeline
    assert step.error is not None
    assert step.error.startswith("UserWarning: ")
    assert not step.diff


def test_warnings_name_the_line_that_raised_them() -> None:
    model = WarningModel(llama(), lora(), "a")

    def origin() -> tuple[str, int]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.set_adapter("a")
        (warning,) = [warning for warning in caught if "of the user's own" in str(warning.message)]
        return warning.filename, warning.lineno

    plain = origin()
    assert plain[0] == __file__
    with watch(model):
        assert origin() == plain


def test_operations_of_other_threads_are_steps_of_their_own() -> None:
    model = get_peft_model(llama(), lora(), "a")
    with watch(model) as session, session.step("mine"):
        thread = threading.Thread(target=model.add_adapter, args=("b", lora()))
        thread.start()
        thread.join()
    assert sorted(operations(session)) == ["add_adapter", "step"]
    timeline = session.timeline
    assert all(step.before is timeline.snapshots[place] for place, step in enumerate(timeline))


def test_many_threads_leave_nothing_exchanged() -> None:
    before, warn = codes(), warnings.warn
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            base = torch.nn.Sequential(torch.nn.Linear(4, 4))
            with watch(base) as session:
                model = get_peft_model(base, peft.LoraConfig(target_modules=["0"]), name)
                model.unload()
            assert operations(session) == ["get_peft_model", "unload"], session.timeline
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"a{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert codes() == before
    assert warnings.warn is warn


def test_an_installation_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = codes()
    real = interception._Target.install
    calls = []

    def fail_late(target: interception._Target) -> None:
        calls.append(target)
        if len(calls) > 5:
            raise KeyboardInterrupt
        real(target)

    monkeypatch.setattr(interception._Target, "install", fail_late)
    with pytest.raises(KeyboardInterrupt):
        watch(llama())
    assert codes() == before


def test_a_debugger_can_read_the_frames_of_a_failed_operation():
    base, config = llama(), lora()
    config.target_modules = ["no_such_module"]
    with watch(base, display=False), pytest.raises(ValueError, match="no_such_module") as caught:
        get_peft_model(base, config)
    names = []
    traceback = caught.tb
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        assert isinstance(dict(traceback.tb_frame.f_locals), dict)  # reading it crashed the interpreter once
        traceback = traceback.tb_next
    assert "__init__" in names


def test_an_operation_does_not_fail_because_recording_does(monkeypatch: pytest.MonkeyPatch) -> None:
    base = llama()
    with watch(base) as session:
        real = recorder.capture

        def fail(*args: object, **options: object) -> object:
            raise RuntimeError("no capture")

        monkeypatch.setattr(recorder, "capture", fail)
        with pytest.warns(RuntimeWarning, match="could not record a step: RuntimeError"):
            model = get_peft_model(base, lora(), "a")
        monkeypatch.setattr(recorder, "capture", real)
        assert session.model is model
        model.set_adapter("a")
    assert operations(session) == ["outside", "set_adapter"]
