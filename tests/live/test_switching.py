"""Switching, enabling, disabling, merging and unmerging: planned, checked, one step each, and all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer

from peftviz.errors import AdapterError, ModelError, SessionClosedError, VerificationError
from peftviz.live.activation import switching
from peftviz.live.activation.switching import OperationReport, plan_operation
from peftviz.live.sessions.session import Session, watch
from tests.live.watched import PEFT_WARNS, PeftMixedModel, get_peft_model, inject_adapter_in_model, llama, lora, tokens
from tests.oracle import describe as described
from tests.oracle import differences

pytestmark = [pytest.mark.filterwarnings(rule) for rule in PEFT_WARNS]

HEAD = {"modules_to_save": ["lm_head"]}


def peft_model(**options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    model = get_peft_model(llama(), lora(**options), "a")
    model.add_adapter("b", lora(**options))
    return _told_apart(model)


def mixed() -> torch.nn.Module:
    model = get_peft_model(llama(), lora(), "a", mixed=True)
    assert isinstance(model, PeftMixedModel)
    model.add_adapter("b", lora())
    return _told_apart(model)


def mixin(**options: Any) -> torch.nn.Module:
    model = llama()
    model.add_adapter(lora(**options), "a")
    model.add_adapter(lora(**options), "b")
    model.set_adapter("a")
    return _told_apart(model)


def injected() -> torch.nn.Module:
    model = inject_adapter_in_model(lora(), llama(), "a")
    model = inject_adapter_in_model(lora(), model, "b")
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_adapter("a")
    return _told_apart(model)


def _told_apart(model: torch.nn.Module) -> torch.nn.Module:
    """Trained copies that start alike become different, so that outputs tell which one is active."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "modules_to_save" in name:
            parameter.data += torch.randn_like(parameter)
    return model


BUILDS: list[Callable[[], torch.nn.Module]] = [
    peft_model,
    lambda: peft_model(**HEAD),
    mixed,
    mixin,
    lambda: mixin(**HEAD),
    injected,
]


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(tokens()).logits.clone()


def flags(model: torch.nn.Module, name: str) -> set[bool]:
    return {parameter.requires_grad for path, parameter in model.named_parameters() if f".{name}." in f".{path}."}


@pytest.mark.parametrize("build", BUILDS)
def test_each_way_round_leads_back(build: Callable[[], torch.nn.Module]) -> None:
    model = build()
    with watch(model) as session:
        session.set_adapter("a")
        first = logits(model)
        session.set_adapter("b")
        assert (flags(model, "a"), flags(model, "b")) == ({False}, {True})
        second = logits(model)
        assert not torch.allclose(first, second)
        session.disable_adapters()
        plain = logits(model)
        assert not torch.allclose(plain, second)
        assert flags(model, "b") == {False}
        session.enable_adapters()
        assert torch.equal(logits(model), second)
        assert flags(model, "b") == {True}
        report = session.merge_adapter()
        assert report.plan.adapters == ("b",)
        assert torch.allclose(logits(model), second, atol=1e-4)
        session.unmerge_adapter()
        assert torch.allclose(logits(model), second, atol=1e-4)
        session.set_adapter("a")
        assert torch.allclose(logits(model), first, atol=1e-4)
        assert [step.operation for step in session.timeline] == [
            f"peftviz.{name}"
            for name in (
                "set_adapter", "set_adapter", "disable_adapters", "enable_adapters", "merge_adapter", "unmerge_adapter",
                "set_adapter",
            )
        ]  # fmt: skip
        assert not [step.error for step in session.timeline if step.failed]
        assert not [f for step in session.timeline for f in step.findings if f.rule.startswith("PV2")]


@pytest.mark.parametrize("build", BUILDS)
def test_a_plan_touches_nothing_and_comes_true(build: Callable[[], torch.nn.Module]) -> None:
    model = build()
    for operation, names in (
        ("set_adapter", "b"),
        ("disable_adapters", None),
        ("enable_adapters", None),
        ("merge_adapter", None),
        ("unmerge_adapter", None),
    ):
        before = described(model)
        trained = {path for path, parameter in model.named_parameters() if parameter.requires_grad}
        plan = plan_operation(model, operation, names)
        assert described(model) == before
        act = getattr(switching, operation)
        report: OperationReport = act(model, names) if names else act(model)
        assert report.plan == plan
        now = {path for path, parameter in model.named_parameters() if parameter.requires_grad}
        said = {
            kind: sum(int(a.detail.split()[0].replace(",", "")) for a in plan.actions if a.kind == kind)
            for kind in ("train", "freeze")
        }
        assert said == {"train": len(now - trained), "freeze": len(trained - now)}
        if operation in ("merge_adapter", "unmerge_adapter"):
            rewritten = {c.path for c in report.diff if c.field in ("version", "values") and c.path.endswith("weight")}
            layers = {action.path for action in plan.actions}
            assert {path.removesuffix(".base_layer.weight") for path in rewritten} == layers
            assert sum(report.after.tensor(path).nbytes for path in rewritten) == plan.nbytes
        assert set(report.diff.counts) <= {"changed"}


def test_what_is_done_already_changes_nothing() -> None:
    model = peft_model()
    for operation, names in (("set_adapter", "a"), ("enable_adapters", None)):
        plan = plan_operation(model, operation, names)
        assert not plan.actions
        assert "nothing to change" in str(plan)
    assert not switching.set_adapter(model, "a").diff


def test_some_adapters_of_several() -> None:
    model = mixed()
    switching.set_adapter(model, ["a", "b"])
    both = logits(model)
    plan = plan_operation(model, "merge_adapter", "a")
    assert any("'b', active too, is not applied" in warning for warning in plan.warnings)
    switching.merge_adapter(model, ["a", "b"])
    assert torch.allclose(logits(model), both, atol=1e-4)
    switching.unmerge_adapter(model)
    switching.set_adapter(model, "a")
    assert any("'b' is not active" in warning for warning in plan_operation(model, "merge_adapter", "b").warnings)


@pytest.mark.parametrize(
    ("operation", "names", "state", "what", "hint"),
    [
        ("set_adapter", "bb", None, "There is no adapter 'bb'", "'b'"),
        ("set_adapter", None, None, "No adapter was named", "Known"),
        ("set_adapter", ["a", "b"], None, "one active adapter at a time", "PeftMixedModel"),
        ("set_adapter", "b", "merge_adapter", "is merged into the base weights of 4 modules", "unmerge_adapter"),
        ("disable_adapters", None, "merge_adapter", "is merged", "unmerge_adapter"),
        ("merge_adapter", "a", "merge_adapter", "is merged already", "unmerge_adapter"),
        ("merge_adapter", "a", "disable_adapters", "are disabled", "enable_adapters"),
        ("unmerge_adapter", None, None, "No adapter is merged", "merge_adapter"),
        ("merge_adapters", None, None, "no operation 'merge_adapters'", "'merge_adapter'"),
    ],
)
def test_refusals_have_three_parts_and_change_nothing(
    operation: str, names: Any, state: str | None, what: str, hint: str
) -> None:
    model = peft_model()
    if state:
        getattr(switching, state)(model)
    before = described(model)
    with pytest.raises(AdapterError, match=what) as refusal:
        plan_operation(model, operation, names)
    assert refusal.value.where
    assert hint in refusal.value.hint
    assert described(model) == before


def test_models_without_adapters_and_other_things_are_refused() -> None:
    with pytest.raises(AdapterError, match="has no adapters"):
        plan_operation(llama(), "merge_adapter")
    with pytest.raises(ModelError):
        plan_operation(3, "merge_adapter")  # type: ignore[arg-type]


def test_prompt_learning_is_switched_and_otherwise_refused() -> None:
    from peft import PromptTuningConfig

    def config() -> PromptTuningConfig:
        return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)

    model = get_peft_model(llama(), config(), "a")
    model.add_adapter("b", config())
    switching.set_adapter(model, "b")
    assert model.active_adapter == "b"
    for operation in ("enable_adapters", "disable_adapters", "merge_adapter"):
        with pytest.raises(AdapterError, match="no layer"):
            plan_operation(model, operation)


def test_tied_weights_are_not_merged_into() -> None:
    from peft import LoraConfig

    config = LoraConfig(r=2, target_modules=["embed_tokens"], init_lora_weights=False)
    model = get_peft_model(llama(tie=True), config, "a")
    with pytest.raises(AdapterError, match="tied") as refusal:
        plan_operation(model, "merge_adapter")
    assert refusal.value.where.endswith("lm_head.weight")


class Broken(Exception):
    pass


def _breaking(monkeypatch: pytest.MonkeyPatch, cls: type, method: str, at: int, error: BaseException) -> list[int]:
    """Makes PEFT's own method raise when it is called for the n-th time, after it has done its work."""
    calls: list[int] = []
    original = getattr(cls, method)

    def broken(self: Any, *args: Any, **options: Any) -> Any:
        result = original(self, *args, **options)
        calls.append(1)
        if len(calls) == at:
            raise error
        return result

    monkeypatch.setattr(cls, method, broken)
    return calls


STATES: list[tuple[str, Any, str | None, type, str]] = [
    ("set_adapter", "b", None, BaseTunerLayer, "set_adapter"),
    ("disable_adapters", None, None, BaseTunerLayer, "enable_adapters"),
    ("enable_adapters", None, "disable_adapters", BaseTunerLayer, "enable_adapters"),
    ("merge_adapter", "a", None, LoraLinear, "merge"),
    ("unmerge_adapter", None, "merge_adapter", LoraLinear, "unmerge"),
]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(("operation", "names", "state", "cls", "method"), STATES)
@pytest.mark.parametrize(("at", "error"), [(1, Broken()), (4, KeyboardInterrupt())])
def test_a_failure_on_the_way_leaves_no_trace(
    build: Callable[[], torch.nn.Module],
    operation: str,
    names: Any,
    state: str | None,
    cls: type,
    method: str,
    at: int,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build()
    if state:
        getattr(switching, state)(model)
    before, output = described(model), logits(model)
    objects = [(id(item), item.requires_grad) for item in model.parameters()]
    act = getattr(switching, operation)
    calls = _breaking(monkeypatch, cls, method, at, error)
    with pytest.raises(type(error)):
        act(model, names) if names else act(model)
    assert len(calls) == at
    assert described(model) == before
    assert [(id(item), item.requires_grad) for item in model.parameters()] == objects
    monkeypatch.undo()
    assert torch.equal(logits(model), output)


def test_weights_that_are_no_numbers_are_not_merged() -> None:
    model = peft_model()
    layer, *_, last = (module for module in model.modules() if isinstance(module, LoraLinear))
    last.lora_A["a"].weight.data.fill_(float("nan"))
    before = layer.base_layer.weight.clone()
    with pytest.raises(ValueError, match="NaN"):
        switching.merge_adapter(model, "a")
    assert torch.equal(layer.base_layer.weight, before)
    assert layer.merged_adapters == []


def test_a_result_that_is_not_as_planned_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model = peft_model()
    before = described(model)
    monkeypatch.setattr(BaseTunerLayer, "set_adapter", lambda self, *_, **__: None)
    with pytest.raises(VerificationError, match="active in a layer"):
        switching.set_adapter(model, "b")
    monkeypatch.undo()
    assert described(model) == before


def test_a_refused_operation_is_a_failed_step_and_a_plan_is_none() -> None:
    model = peft_model()
    with watch(model) as session:
        assert session.plan_operation("merge_adapter").nbytes > 0
        assert len(session.timeline) == 0
        with pytest.raises(AdapterError):
            session.unmerge_adapter()
        (step,) = session.timeline
        assert step.failed
        assert not step.diff
    with pytest.raises(SessionClosedError):
        session.set_adapter("b")


def test_the_report_shows_itself() -> None:
    model = peft_model()
    report = switching.set_adapter(model, "b")
    assert str(report).startswith("Done: make 'b' active in this PeftModel model")
    assert "'a' -> 'b'" in report.to_text()
    assert report.to_markdown().startswith("### Done: make 'b' active")
    assert "Merge 'b' into the base weights" in plan_operation(model, "merge_adapter").to_text()


def test_two_models_after_the_same_operations_are_the_same() -> None:
    """The oracle: peftviz's way and PEFT's own lead to the same model."""
    ours, theirs = peft_model(**HEAD), peft_model(**HEAD)
    switching.set_adapter(ours, "b")
    theirs.set_adapter("b")
    assert differences(ours, theirs) == []
    switching.merge_adapter(ours)
    theirs.base_model.merge_adapter()
    assert differences(ours, theirs) == []
    switching.unmerge_adapter(ours)
    theirs.base_model.unmerge_adapter()
    assert differences(ours, theirs) == []


@pytest.fixture
def session() -> Session:
    return watch(peft_model())


def test_the_widget_gets_what_it_needs(session: Session) -> None:
    pytest.importorskip("anywidget")
    actions = session.inspector._actions
    assert actions["plan_operation"]("set_adapter", ["b"]).adapters == ("b",)
    for name, adapters in (("set_adapter", ["b"]), ("disable_adapters", []), ("enable_adapters", [])):
        actions[name](adapters)
    actions["merge_adapter"](["b"])
    actions["unmerge_adapter"]([])
    assert len(session.timeline) == 5


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("operation", ["unload", "merge_and_unload"])
def test_the_plan_of_unload_touches_nothing_and_comes_true(
    build: Callable[[], torch.nn.Module], operation: str
) -> None:
    model = build()
    merge = operation == "merge_and_unload"
    with watch(model) as session:
        before, output = described(model), logits(model)
        plan = session.plan_operation(operation)
        assert described(model) == before
        assert plan.adapters == ("a", "b")
        assert plan.to_text()
        report = session.unload(merge=merge)
        kinds = {"unwrap", "forget", "remove", *(["merge"] if merge else [])}
        assert kinds <= {action.kind for action in plan.actions}
        wrapped = {action.path for action in plan.actions if action.kind == "unwrap"}
        assert wrapped == {action.path for action in report.actions if action.kind == "unwrap"}
        if merge:
            assert torch.allclose(logits(report.model), output, atol=1e-4)
            said = {action.path for action in plan.actions if action.kind == "merge"}
            assert said <= {action.path for action in report.actions if action.kind == "merge"}


def test_the_plan_of_unload_says_that_merged_adapters_come_out() -> None:
    model = peft_model()
    switching.merge_adapter(model, "a")
    with watch(model) as session:
        plan = session.plan_operation("unload")
        assert sum(action.kind == "unmerge" for action in plan.actions) == 4
        assert any("rounding" in warning for warning in plan.warnings)
    with pytest.raises(AdapterError, match="has no adapters"), watch(llama()) as session:
        session.plan_operation("unload")
