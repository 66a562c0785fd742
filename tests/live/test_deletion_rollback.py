"""An exception at any single mutation leaves the model as it was, object for object."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import torch

from peftviz.errors import VerificationError
from peftviz.live.removal import deletion
from peftviz.live.removal.deletion import delete_adapter, plan_deletion
from peftviz.live.removal.journal import Journal
from tests.live.zoo import HAS_TOKENS, LONE, METHODS, Handle, two_adapters
from tests.oracle import photograph

if TYPE_CHECKING:
    from peftviz.live.removal.prepare import Prepared

pytestmark = pytest.mark.filterwarnings("ignore")


class Fault(Exception):
    """Raised by the tests only."""


class Faulty:
    """Makes the journal fail at one mutation, and counts the mutations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.fail_at = -1
        self.error: type[BaseException] = Fault
        faulty = self

        def checkpoint(_: Journal) -> None:
            faulty.count += 1
            if faulty.count == faulty.fail_at:
                raise faulty.error

        monkeypatch.setattr(Journal, "checkpoint", checkpoint)


def scenario(name: str) -> tuple[torch.nn.Module, list[str], dict[str, str]]:
    case, way, active, merged, last = SCENARIOS[name]
    handle = two_adapters(case, way)
    if active:
        handle.activate("b")
    if merged:
        handle.model.merge_adapter(["a", "b"] if merged == "both" else ["b"])
    names = ["b"]
    if last:
        delete_adapter(handle.model, "a")
    return handle.model, names, {"merged": "unmerge"} if merged else {}


SCENARIOS = {
    "inactive": ("heads", "peft", False, "", False),
    "active": ("heads", "peft", True, "", False),
    "other-targets": ("other-targets", "mixin", True, "", False),
    "dora": ("dora", "inject", True, "", False),
    "last": ("heads", "peft", False, "", True),
    "last-of-mixin": ("tied", "mixin", False, "", True),
    "merged": ("linear", "peft", True, "one", False),
    "merged-both": ("linear", "peft", True, "both", False),
}
if HAS_TOKENS:
    SCENARIOS |= {
        "tokens": ("tokens-tied", "peft", True, "", False),
        "last-tokens": ("tokens-and-head", "peft", False, "", True),
    }
SCENARIOS |= {
    f"{method}-{state}": (method, "peft", *flags)
    for method, state, flags in (
        ("VERA-plain", "active", (True, "", False)),
        ("POLY-plain", "last", (False, "", True)),
        ("ADAPTION_PROMPT-plain", "active", (True, "", False)),
    )
    if HAS_TOKENS and method in METHODS  # the methods are tested on the releases that have these, too
}


def name_is_gone(model: torch.nn.Module, name: str) -> bool:
    return name not in vars(model).get("peft_config", {}) and not any(
        name in path.split(".") for path, _ in model.named_modules()
    )


MANY = 5
"""So many mutations at the least in each scenario: the loop below is not empty."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_at_every_mutation_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, names, options = scenario(name)
    before = photograph(model)
    faulty = Faulty(monkeypatch)
    failures = 0
    while True:
        faulty.count, faulty.fail_at = 0, failures + 1
        try:
            delete_adapter(model, names[0], **options)
        except Fault:
            failures += 1
        else:
            break
        after = photograph(model)
        assert [key for key in before if before[key] != after.get(key)] == []
        assert before == after
    assert failures >= MANY
    assert failures == faulty.count
    assert name_is_gone(model, names[0])


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_keyboard_interrupt_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, names, options = scenario(name)
    before = photograph(model)
    faulty = Faulty(monkeypatch)
    faulty.error = KeyboardInterrupt
    for at in random.Random(name).sample(range(1, MANY + 1), 2):
        faulty.count, faulty.fail_at = 0, at
        with pytest.raises(KeyboardInterrupt):
            delete_adapter(model, names[0], **options)
        assert photograph(model) == before


@pytest.mark.skipif(not HAS_TOKENS, reason="the methods are tested on PEFT 0.15 and later")
def test_a_fault_while_experts_go_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = LONE["XLORA-plain"]
    handle = Handle("peft", case.build())
    handle.add("a", case.first(), seed=1)
    before = photograph(handle.model)
    faulty = Faulty(monkeypatch)
    count = 0
    while True:
        faulty.count, faulty.fail_at = 0, count + 1
        try:
            delete_adapter(handle.model, "a")
        except Fault:
            count += 1
        else:
            break
        assert photograph(handle.model) == before
    assert count == faulty.count >= MANY


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_plan_touches_nothing(name: str) -> None:
    model, names, options = scenario(name)
    before = photograph(model)
    plan = plan_deletion(model, names[0], **options)
    assert photograph(model) == before
    assert plan.actions
    assert str(plan) == str(plan_deletion(model, names[0], **options))


@pytest.mark.parametrize("drop", ["remove", "activate", "unwrap", "registry", "flag", "target"])
def test_a_result_that_is_not_as_planned_is_rolled_back(drop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = two_adapters("other-targets", "peft")
    handle.activate("b")
    before = photograph(handle.model)
    prepare = deletion.prepare

    def careless(*arguments, **options) -> Prepared:
        prepared = prepare(*arguments, **options)
        edits = prepared.edits.list
        if drop == "remove":
            edits.pop(next(i for i, edit in enumerate(edits) if edit[0] == "del" and edit[2] == "b"))
        elif drop == "activate":
            edits.pop(next(i for i, edit in enumerate(edits) if edit[2] == "_active_adapter"))
        elif drop == "unwrap":
            edits.pop(next(i for i, edit in enumerate(edits) if edit[2] == "o_proj"))
        elif drop == "registry":
            edits.pop(next(i for i, edit in enumerate(edits) if edit[1] is handle.model.peft_config))
        elif drop == "flag":
            last = prepared.survey.parameters[0]
            edits.append(("set", last.__dict__, "_", 0))
            monkeypatch.setattr(Journal, "set_requires_grad", lambda *_: None)
        else:
            parameters = handle.model.base_model.model.model.layers[0].mlp.down_proj._parameters
            edits.append(("set", parameters, "weight", torch.nn.Parameter(torch.zeros(1))))
        return prepared

    monkeypatch.setattr(deletion, "prepare", careless)
    with pytest.raises(VerificationError, match="as it was before"):
        delete_adapter(handle.model, "b")
    assert photograph(handle.model) == before
