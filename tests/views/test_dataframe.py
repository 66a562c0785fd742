"""DataFrames agree with the snapshot, the diff and the audit they are made of."""

from __future__ import annotations

import sys

import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.errors import LookupFailure, MissingDependencyError
from tests.views.story import plain, story


def test_tensors_add_up_to_the_totals() -> None:
    _, snapshot, _ = story()
    frame = snapshot.to_frame("tensors")
    assert list(frame["path"]) == snapshot.tensor_paths()
    assert frame["bytes"].sum() == snapshot.totals.bytes
    assert frame["numel"].sum() == snapshot.totals.parameters
    assert frame.loc[frame["requires_grad"], "numel"].sum() == snapshot.totals.trainable
    assert set(frame["shape"]) == {(64, 64), (8, 64), (64, 8), (1000, 64)}
    assert frame["adapter"].isna().sum() == 10


def test_a_shared_tensor_names_the_first_of_its_storage_and_counts_no_bytes() -> None:
    model = plain(1)
    model.root.children["lm_head"].tensors = model.root.children["model"].children["embed"].tensors
    frame = model.snapshot().to_frame("tensors").set_index("path")
    assert frame.loc["lm_head.weight", "shares_storage_of"] == "model.embed.weight"
    assert frame.loc["lm_head.weight", "bytes"] == 0
    assert frame.loc["lm_head.weight", "nbytes"] == 128_000


def test_the_first_module_holds_the_totals() -> None:
    _, snapshot, _ = story()
    frame = snapshot.to_frame()
    assert list(frame["path"]) == snapshot.module_paths()
    assert frame.loc[0, ["parameters", "trainable", "bytes"]].tolist() == [
        snapshot.totals.parameters,
        snapshot.totals.trainable,
        snapshot.totals.bytes,
    ]
    row = snapshot.find_module("base_model.model.lm_head")
    assert frame.loc[row, "role"] == "wrapper"
    assert frame.loc[row, "type"] == "peft.utils.other.ModulesToSaveWrapper"


def test_adapters_are_listed_with_what_they_hold() -> None:
    _, snapshot, _ = story()
    frame = snapshot.to_frame("adapters").set_index("name")
    assert list(frame.index) == ["default", "math"]
    assert frame.loc["math", "tensors"] == 4 * 2 * 2 + 1
    assert frame.loc["math", "bytes"] == 4 * 2 * 2 * 8 * 64 * 2 + 128_000
    assert list(frame["active"]) == [True, False]


def test_a_diff_has_a_row_for_each_change() -> None:
    _, adapters, left = story()
    change = diff(adapters, left)
    frame = change.to_frame()
    assert list(frame.columns) == ["kind", "path", "old_path", "field", "before", "after"]
    assert frame["kind"].value_counts().to_dict() == change.counts
    assert list(diff(left, left).to_frame().columns) == list(frame.columns)


def test_an_audit_has_a_row_for_each_finding() -> None:
    _, _, left = story()
    audit = audit_snapshot(left)
    frame = audit.to_frame()
    assert list(frame["rule"]) == [finding.rule for finding in audit]
    assert list(frame.columns)[:4] == ["rule", "severity", "path", "adapter"]
    assert "rows" not in frame.columns


def test_an_unknown_table_names_the_near_one() -> None:
    with pytest.raises(LookupFailure, match="no table 'tensor'") as failure:
        story()[0].to_frame("tensor")
    assert "'tensors'" in failure.value.hint


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    first, adapters, _ = story()
    for make in (first.to_frame, diff(first, adapters).to_frame, audit_snapshot(first).to_frame):
        with pytest.raises(MissingDependencyError, match="pip install pandas"):
            make()
