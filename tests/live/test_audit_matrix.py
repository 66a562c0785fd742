"""An alarm budget of zero: every method that the installed PEFT registers, each way in, each healthy state.

A finding is an alarm, infos included, unless it is right about a model that is healthy otherwise: see `true_of`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer

import peftviz
from peftviz import capture
from peftviz.auditing import audit
from peftviz.core.snapshot import Snapshot
from tests.live.zoo import CASES, LONE, METHODS, WAYS, Case, Handle, has_way
from tests.live.zoo.cases import has_field

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT advises on much of what is done here

TIED_COPIES = ("tied-head", "heads-kept-tied")
"""Cases in which an adapter trains a copy of one end of a tied pair. PEFT keeps the first adapter's tied when asked to,
and no second one's: that is its fault, not the audit's."""


OLDER = not has_field(LoraConfig, "velora_config")
"""Whether this is an older PEFT, which does some of this wrong and refuses some of it."""

FAULTS_OF_OLDER = {
    ("head-on-first", "PV202"),  # 0.14: a head that was switched off stays off
    ("head-on-second", "PV301"),  # up to 0.18: an adapter without the head thaws the original
    ("head-on-second", "PV202"),
    ("head-on-second", "PV201"),
    ("tokens-on-second", "PV201"),  # 0.15: enabling the adapters revives the tokens of the one that is not active
    ("POLY-plain", "PV201"),  # up to 0.15: the tuner does not note which adapter is active
    ("POLY-heads", "PV201"),
    ("POLY-heads", "PV202"),
}
"""Findings that are right about older PEFTs, by case and rule."""


def true_of(case: str, state: str, rule: str, severity: str) -> bool:
    """Whether a finding is right about a model that is otherwise healthy."""
    if OLDER and (case, rule) in FAULTS_OF_OLDER:
        return True
    if rule == "PV306":
        return case in TIED_COPIES and (severity == "info" or case == "heads-kept-tied")
    if rule == "PV302":  # merging rounds; with a baseline from before the adapters it is an info
        return state == "unmerged" and severity == "info"
    if rule == "PV405":  # PEFT casts layers to float32, copies it leaves in bfloat16
        return state.startswith("bfloat16") and severity == "info"
    return False


ALWAYS = {"plain", "one adapter", "after a training step"}
WITH_TWO = {"two adapters", "the second active", "one of two deleted"}
EVERY_STATE = {
    *ALWAYS,
    *WITH_TWO,
    "disabled",
    "enabled again",
    "several active",
    "merged",
    "unmerged",
    "all deleted",
    "bfloat16",
    "bfloat16 throughout",
}

CELLS = [
    (case, way)
    for case in {**CASES, **METHODS, **LONE}
    for way in WAYS
    if (case in LONE and way == "peft") or (case not in LONE and has_way(case, way))
]


@pytest.mark.parametrize(("name", "way"), CELLS, ids=lambda value: str(value))
def test_no_alarm(name: str, way: str) -> None:
    case = {**CASES, **METHODS, **LONE}[name]
    alarms = []
    seen = set()
    for state, model, baseline in healthy_states(case, way):
        seen.add(state)
        for finding in audit(model, baseline=baseline):
            said = f"{state}: {finding.rule} {finding.severity} at {finding.path}: {finding.message}"
            alarms += [] if true_of(name, state, finding.rule, finding.severity) else [said]
    assert alarms == []
    if OLDER and len(seen) < len(ALWAYS | WITH_TWO):
        pytest.skip("this PEFT refuses it")
    assert seen >= ALWAYS | (WITH_TWO if case.second is not None else set())
    assert seen == EVERY_STATE or (name, way) != ("linear", "peft"), "LoRA refuses none"


def healthy_states(case: Case, way: str) -> Iterator[tuple[str, Any, Snapshot | None]]:
    """Each healthy state of a case, with a baseline; PEFT's own refusals leave a state out."""
    plain = case.build()
    before = capture(plain)
    yield "plain", plain, before
    handle = Handle(way, plain)
    if not added(handle, "a", case.first()):
        return
    if case.second is not None:  # X-LoRA's own name, made active, switches off the adapters that it mixes
        handle.activate("a")
    yield "one adapter", handle.model, before
    one = capture(handle.model)
    if case.second is not None:
        if not added(handle, "b", case.second()):
            return
        handle.activate("a")
        yield "two adapters", handle.model, None
        yield "two adapters", handle.model, one
        handle.activate("b")
        yield "the second active", handle.model, before
        handle.activate("a")
    yield from in_use(case, handle, before)
    yield from merged(handle, before)
    if case.second is not None:
        yield from deleted(case, way)
    if not case.inputs and case.build().__class__.__name__ != "Net":
        yield from in_bfloat16(case, way)


def added(handle: Handle, name: str, config: PeftConfig) -> bool:
    """Adds an adapter; false where an older PEFT refuses it."""
    try:
        handle.add(name, config, seed=1)
    except (AttributeError, ValueError):
        if not OLDER:
            raise
        return False
    return True


def in_use(case: Case, handle: Handle, before: Snapshot) -> Iterator[tuple[str, Any, Snapshot | None]]:
    """Training, a forward and a backward pass, disabled and enabled again, several active."""
    model = handle.model
    model.train()
    with contextlib.suppress(KeyError):  # injected RandLora looks for an adapter that the handle knows
        answer_with_gradients(handle, case)
    yield "after a training step", model, before
    model.eval()
    if handle.way != "peft":
        return
    with model.disable_adapter():
        yield "disabled", model, before
    yield "enabled again", model, before
    if len(handle.names) == 2:
        with refused():
            model.base_model.set_adapter(["a", "b"])
            if not any("modules_to_save" in path or "token_adapter" in path for path, _ in model.named_modules()):
                yield "several active", model, before
        handle.activate("a")


def answer_with_gradients(handle: Handle, case: Case) -> None:
    inputs = dict(case.inputs if handle.way == "peft" else {})
    result = handle.model(torch.tensor([[1, 2, 3]]), **inputs)
    logits = result if isinstance(result, torch.Tensor) else result.logits
    if logits.requires_grad:
        logits.sum().backward()


def merged(handle: Handle, before: Snapshot) -> Iterator[tuple[str, Any, Snapshot | None]]:
    """One of the adapters merged, and taken out again."""
    layers = [module for module in handle.model.modules() if isinstance(module, BaseTunerLayer)]
    with refused():
        for layer in layers:
            if hasattr(layer, "merge"):
                layer.merge(adapter_names=["a"])
        yield "merged", handle.model, before
        for layer in layers:
            if hasattr(layer, "unmerge"):
                layer.unmerge()
        yield "unmerged", handle.model, before


def deleted(case: Case, way: str) -> Iterator[tuple[str, Any, Snapshot | None]]:
    """After corrected deletions, of which the last gives the base back."""
    plain = case.build()
    before = capture(plain)
    handle = Handle(way, plain)
    for name, config in (("a", case.first()), ("b", case.second() if case.second else None)):
        handle.add(name, config, seed=1)
    handle.activate("a")
    left = peftviz.delete_adapter(handle.model, "b", baseline=before).model
    yield "one of two deleted", left, before
    left = peftviz.delete_adapter(left, "a", baseline=before).model
    if not case.changes_base:
        yield "all deleted", left, before


def in_bfloat16(case: Case, way: str) -> Iterator[tuple[str, Any, Snapshot | None]]:
    """Around a base in bfloat16, adapters as PEFT casts them, and cast back as a whole."""
    plain = case.build().to(torch.bfloat16)
    before = capture(plain)
    handle = Handle(way, plain)
    with refused():
        handle.add("a", case.first(), seed=1)
        if case.second is not None:
            handle.activate("a")
        yield "bfloat16", handle.model, before
        yield "bfloat16 throughout", handle.model.to(torch.bfloat16), None


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """What PEFT itself cannot do with a method is no state of it."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return
