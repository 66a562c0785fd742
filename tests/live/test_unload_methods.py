"""`unload` of every method that the installed PEFT registers: the base back, merged or refused."""

from __future__ import annotations

import pytest
import torch

import peftviz
from tests.live.test_unload import ROUNDING, both, refused, structure
from tests.live.zoo import METHODS, WAYS, answer, has_way, one_adapter, output
from tests.oracle import compare, differences

MATRIX = [(case, way) for case in METHODS for way in WAYS if has_way(case, way)]

pytestmark = pytest.mark.filterwarnings("ignore")

REFUSED = {
    "ADAPTION_PROMPT": "changes activations",
    "BEFT": "needs a bias in the base layer, and this base has none",
    "CARTRIDGE": "adds inputs",
    "CPT": "adds inputs",
    "LILY": "no merging in PEFT",
    "MULTITASK_PROMPT_TUNING": "adds inputs",
    "POLY": "mixes by task",
    "PREFIX_TUNING": "adds inputs",
    "PROMPT_TUNING": "adds inputs",
    "P_TUNING": "adds inputs",
    "SHADOW": "depends on the input",
}
"""Methods that cannot be merged, and why."""


def without_flags(facts: dict[str, object]) -> dict[str, object]:
    return {key: fact[:-1] if isinstance(fact, tuple) else fact for key, fact in facts.items()}


@pytest.mark.parametrize(("case", "way"), MATRIX)
def test_every_method_gives_the_base_back(case: str, way: str) -> None:
    base = METHODS[case].build()
    baseline = peftviz.capture(base)
    report = peftviz.unload(both(case, way, base).model, baseline=baseline)
    assert report.freed.alive == ()
    if METHODS[case].changes_base:
        assert METHODS[case].changes_base in " ".join(report.warnings)
    else:
        assert differences(report.model, METHODS[case].build()) == []


@pytest.mark.parametrize(("case", "way"), MATRIX)
def test_every_method_merges_or_says_why_not(case: str, way: str) -> None:
    handle = one_adapter(case, way)
    if case.partition("-")[0] in REFUSED:
        refused(handle.model, merge=True)
        return
    expected = answer(handle, METHODS[case])
    report = peftviz.unload(handle.model, merge=True)
    assert torch.allclose(output(report.model), expected, rtol=0, atol=ROUNDING)
    left, right = structure(METHODS[case].build()), structure(report.model)
    assert list(compare(without_flags(left), without_flags(right))) == []
