"""add(a), add(b), delete(b) must equal add(a); after the last deletion the model must equal the base."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
import torch

from peftviz.live.removal.deletion import delete_adapter
from peftviz.live.snapshots.capture import capture
from tests.live.zoo import CASES, WAYS, Handle, has_way, one_adapter, output, tensors_of, two_adapters
from tests.oracle import compare, describe, differences

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = [(case, way) for case in CASES for way in WAYS if has_way(case, way)]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(("case", "way"), MATRIX)
@pytest.mark.parametrize("active", [False, True], ids=["inactive", "active"])
def test_add_two_and_delete_one_equals_add_one(case: str, way: str, active: bool) -> None:
    handle = two_adapters(case, way)
    if active:
        handle.activate("b")
    removed = tensors_of(handle.model, "b")
    report = delete_adapter(handle.model, "b")
    expected = one_adapter(case, way)
    assert report.model is handle.model
    assert differences(report.model, expected.model) == []
    assert torch.equal(output(report.model), output(expected.model))
    assert removed
    assert [ref for ref in removed if ref() is not None] == []
    assert report.freed.alive == ()
    assert report.freed.tensors == len(removed)
    assert report.freed.bytes > 0


@pytest.mark.parametrize(("case", "way"), MATRIX)
@pytest.mark.parametrize("order", ["ab", "ba"])
def test_after_the_last_deletion_the_model_equals_the_base(case: str, way: str, order: str) -> None:
    base = CASES[case].build()
    baseline = capture(base)
    before = describe(base)
    handle = Handle(way, base)
    handle.add("a", CASES[case].first(), seed=1)
    handle.add("b", CASES[case].second(), seed=2)
    handle.activate("a")
    removed = tensors_of(handle.model, "a") + tensors_of(handle.model, "b")
    model = handle.model
    for name in order:
        report = delete_adapter(model, name, baseline=baseline)
        model = report.model
    assert model is base
    assert list(compare(before, describe(base))) == []
    assert torch.equal(output(model), output(CASES[case].build()))
    handle.model = model
    gc.collect()
    assert [ref for ref in removed if ref() is not None] == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", [case for case in CASES if has_way(case, "mixin")])
def test_what_is_left_survives_saving_and_loading(case: str, way: str, tmp_path: Path) -> None:
    handle = two_adapters(case, way)
    for name in "ab":
        handle.model = delete_adapter(handle.model, name).model
    handle.model.save_pretrained(tmp_path)
    loaded = type(handle.model).from_pretrained(tmp_path).eval()
    assert torch.equal(output(loaded), output(handle.model))


@pytest.mark.parametrize(("case", "way"), MATRIX)
def test_a_name_can_be_used_again(case: str, way: str) -> None:
    handle = two_adapters(case, way)
    delete_adapter(handle.model, "b")
    handle.add("b", CASES[case].second(), seed=2)
    handle.activate("a")
    assert differences(handle.model, two_adapters(case, way).model) == []
