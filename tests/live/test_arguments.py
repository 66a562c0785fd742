"""A model, a session or anything else where a snapshot is needed: an error that says how to come by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import peftviz
from peftviz.errors import SnapshotError
from tests.live.audited import base, two

pytestmark = pytest.mark.filterwarnings("ignore:Adapter name")  # "a" is part of the prefix "lora_"

CALLS: dict[str, Callable[[Any, Any], object]] = {
    "diff, before": lambda model, wrong: peftviz.diff(wrong, peftviz.capture(model)),
    "diff, after": lambda model, wrong: peftviz.diff(peftviz.capture(model), wrong),
    "patch": lambda model, wrong: peftviz.patch(wrong, peftviz.diff(peftviz.capture(model), peftviz.capture(model))),
    "audit": lambda model, wrong: peftviz.audit(model, baseline=wrong),
    "assert_clean": lambda model, wrong: peftviz.assert_clean(model, baseline=wrong),
    "delete_adapter": lambda model, wrong: peftviz.delete_adapter(model, "b", baseline=wrong),
    "repair": lambda model, wrong: peftviz.repair(model, baseline=wrong),
    "unload": lambda model, wrong: peftviz.unload(model, baseline=wrong),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_model_is_no_snapshot(call: str) -> None:
    model = two()
    before = peftviz.capture(model)
    with pytest.raises(SnapshotError, match="A snapshot is needed here, not 'LlamaForCausalLM'") as caught:
        CALLS[call](model, base())
    assert "take peftviz.capture(model) before an operation" in caught.value.hint
    assert caught.value.where in ("argument 'before'", "argument 'after'", "argument 'snapshot'", "argument 'baseline'")
    assert peftviz.capture(model) == before


def test_a_session_has_the_snapshot_that_is_meant() -> None:
    with peftviz.watch(two(), display=False) as session, pytest.raises(SnapshotError) as caught:
        peftviz.audit(session.model, baseline=session)  # type: ignore[arg-type]
    assert ".baseline" in caught.value.hint


def test_other_things_are_told_of_both_ways() -> None:
    with pytest.raises(SnapshotError) as caught:
        peftviz.diff("before.npz", None)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "A snapshot is needed here, not 'str'.\nWhere: argument 'before'\n"
        "What to do: peftviz.capture(model) takes a snapshot, peftviz.load(path) reads a saved one."
    )
