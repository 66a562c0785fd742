"""The view table says what the snapshots and the diff say: sums, counts, places."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given

from peftviz.core.audit import Audit, audit_snapshot
from peftviz.core.diff import Diff, Kind, diff
from peftviz.core.finding import Finding
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import Role
from peftviz.views.renderers.text import to_text
from peftviz.views.viewmodel.table import RowKind, Status, Trainable, ViewTable, view_table
from tests.core import strategies
from tests.core.stand_in import Model, Node, Slot, Tensor
from tests.views.story import adapted, half_deleted, plain, story


def text(table: ViewTable, column: str, row: int) -> str:
    return table.strings[getattr(table, column)[row]]


def path(table: ViewTable, row: int) -> str:
    parts = []
    while row > 0:
        parts.append(text(table, "label", row))
        row = int(table.parent[row])
    return ".".join(reversed(parts))


def row_at(table: ViewTable, wanted: str) -> int:
    (found,) = [row for row in range(len(table)) if path(table, row) == wanted]
    return found


def check_tree(table: ViewTable) -> None:
    """Preorder, own tensors before child modules, sums of children."""
    assert table.parent[0] == -1
    last_at_depth: dict[int, int] = {}
    for row in range(len(table)):
        depth, parent = int(table.depth[row]), int(table.parent[row])
        assert parent == (last_at_depth[depth - 1] if depth else -1)
        last_at_depth[depth] = row
    for side in ("before", "after"):
        for column in (f"bytes_{side}", f"numel_{side}"):
            values = getattr(table, column)
            sums = np.zeros(len(table))
            np.add.at(sums, table.parent[1:], values[1:])
            modules = table.kind == RowKind.MODULE
            assert np.array_equal(sums[modules], values[modules])
    tensor_rows = np.flatnonzero(table.kind != RowKind.MODULE)
    for row in tensor_rows.tolist():
        previous = row - 1
        assert table.parent[row] == previous or (
            table.parent[previous] == table.parent[row] and table.kind[previous] != RowKind.MODULE
        )


def check_cover(table: ViewTable, before: Snapshot, after: Snapshot) -> None:
    """Each row of either snapshot is there, once (a row before can have become several)."""
    modules = table.kind == RowKind.MODULE
    for mask, old, new in ((modules, before.modules, after.modules), (~modules, before.tensors, after.tensors)):
        rows = table.after_row[mask]
        assert sorted(rows[rows >= 0].tolist()) == list(range(len(new)))
        rows = table.before_row[mask]
        assert set(rows[rows >= 0].tolist()) == set(range(len(old)))
        assert np.all((table.before_row[mask] >= 0) | (table.after_row[mask] >= 0))


def check_totals(table: ViewTable, before: Snapshot, after: Snapshot) -> None:
    assert table.summary["bytes"] == [before.totals.bytes, after.totals.bytes]
    assert [sum(part[3] for part in table.roles), sum(part[4] for part in table.roles)] == table.summary["bytes"]
    assert table.bytes_before[0] == before.totals.bytes
    assert table.bytes_after[0] == after.totals.bytes
    assert table.numel_after[0] == after.totals.parameters
    assert sum(table.summary["counts"].values()) == len(table)


@given(strategies.histories())
def test_any_diff_keeps_the_laws_of_the_table(states: list[Model]) -> None:
    before, after = (state.snapshot() for state in states)
    change = diff(before, after)
    table = view_table(change)
    check_tree(table)
    check_cover(table, before, after)
    check_totals(table, before, after)
    assert (table.status == Status.REMOVED).sum() == len(change.removed_modules) + len(change.removed_tensors)
    added = (change.module_kinds & Kind.ADDED).astype(bool).sum() + (change.tensor_kinds & Kind.ADDED).astype(
        bool
    ).sum()
    assert (table.status == Status.ADDED).sum() == added
    json.dumps([table.summary, table.roles, table.changes, table.details, table.findings])


@given(strategies.snapshots())
def test_any_snapshot_keeps_the_laws_of_the_table(snapshot: Snapshot) -> None:
    table = view_table(snapshot, audit=audit_snapshot(snapshot))
    check_tree(table)
    check_cover(table, snapshot, snapshot)
    check_totals(table, snapshot, snapshot)
    assert set(np.unique(table.status).tolist()) <= {Status.SAME, Status.LEFTOVER, Status.FAULT}
    assert np.array_equal(table.bytes_before, table.bytes_after)


@given(strategies.histories())
def test_the_same_diff_gives_the_same_table(states: list[Model]) -> None:
    before, after = (state.snapshot() for state in states)
    first, second = view_table(diff(before, after)), view_table(diff(before, after))
    assert first.strings == second.strings
    assert (first.summary, first.roles, first.changes) == (second.summary, second.roles, second.changes)
    for name in ("label", "status", "parent", "note", "bytes_after"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_each_status_is_the_kind_of_the_row() -> None:
    before, after, _ = story()
    change = diff(before, after)
    table = view_table(change)
    words = Counter(Status(value) for value in table.status.tolist())
    assert words[Status.WRAPPED] == change.counts["wrapped"] == 10  # 8 projections, the head, the model
    assert words[Status.ADDED] == change.counts["added"]
    assert words[Status.CHANGED] == 10  # each base weight is frozen now
    assert table.summary["counts"]["wrapped"] == 10


def test_a_wrapped_row_names_its_old_path_and_its_new_wrapper_holds_its_bytes() -> None:
    before, after, _ = story()
    table = view_table(diff(before, after))
    wrapper = row_at(table, "base_model.model.model.layers.2.q_proj")
    inner = row_at(table, "base_model.model.model.layers.2.q_proj.base_layer")
    assert text(table, "was", inner) == "model.layers.2.q_proj"
    assert text(table, "type_after", wrapper) == "lora.Linear"
    assert text(table, "type_after", inner) == "Linear"
    assert table.bytes_before[wrapper] == table.bytes_before[inner] == 64 * 64 * 2
    assert table.bytes_after[wrapper] == table.bytes_after[inner] + 2 * (8 * 64 + 64 * 8) * 2
    assert table.trainable_after[wrapper] == Trainable.PARTLY


def test_a_removed_row_stands_behind_its_previous_surviving_sibling() -> None:
    _, adapters, left = story()
    table = view_table(diff(adapters, left))
    container = row_at(table, "base_model.model.model.layers.0.q_proj.lora_A")
    children = [row for row in range(len(table)) if table.parent[row] == container]
    assert [text(table, "label", row) for row in children] == ["default", "math"]
    assert [Status(int(table.status[row])) for row in children] == [Status.SAME, Status.REMOVED]


def test_taking_the_wrappers_off_keeps_the_places() -> None:
    first = plain(1)
    wrapped = adapted(first, "default")
    table = view_table(diff(wrapped.snapshot(), first.snapshot()))
    block = row_at(table, "model.layers.0")
    children = [text(table, "label", row) for row in range(len(table)) if table.parent[row] == block]
    assert children == ["q_proj", "q_proj", "v_proj", "v_proj"]  # each wrapper behind what came out of it


def test_every_finding_has_its_row_and_the_leftover_is_red() -> None:
    _, adapters, left = story()
    audit = audit_snapshot(left)
    table = view_table(diff(adapters, left), audit=audit)
    assert len(table.findings) == len(audit) > 0
    assert all(finding["row"] >= 0 for finding in table.findings)
    copy = row_at(table, "base_model.model.lm_head.modules_to_save.math")
    assert np.flatnonzero(table.status == Status.LEFTOVER).tolist() == [copy]
    assert table.summary["leftover_rows"] == 1
    assert table.summary["leftover_bytes"] == 1000 * 64 * 2 == table.bytes_after[copy]
    assert [part for part in table.roles if part[5]] == [["math · lm_head", "saved", "math", 128_000, 128_000, True]]


def test_a_finding_about_something_gone_stands_at_its_old_row_and_one_about_nothing_nowhere() -> None:
    _, adapters, left = story()
    gone = "base_model.model.model.layers.0.q_proj.lora_A.math"
    findings = [Finding("PV999", "error", where, None, "", {}, "", False) for where in (gone, "no.such.place")]
    table = view_table(diff(adapters, left), audit=Audit(findings, left))
    assert [finding["row"] for finding in table.findings] == [row_at(table, gone), -1]


def test_the_model_as_a_whole_is_no_leftover() -> None:
    _, _, left = story()
    findings = [Finding("PV999", "error", where, None, "", {}, "", False) for where in ("", "base_model")]
    table = view_table(left, audit=Audit(findings, left))
    assert [finding["row"] for finding in table.findings] == [0, 1]
    assert table.summary["leftover_rows"] == 0


def test_a_warning_at_a_living_layer_does_not_paint_it_red() -> None:
    _, _, left = story()
    where = "base_model.model.model.layers.0.q_proj"
    for severity, red in (("warning", 0), ("error", 1)):
        table = view_table(left, audit=Audit([Finding("PV199", severity, where, "math", "", {}, "", False)], left))
        assert table.summary["leftover_rows"] == red
        assert table.findings[0]["red"] == bool(red)
        assert table.summary["leftover_bytes"] == 0  # the layer holds nothing of "math"


def test_what_is_at_fault_but_belongs_there_is_red_and_no_leftover() -> None:
    """A wrapper that runs the wrong adapter has nothing left over in it, and neither do the bytes below it."""
    _, adapters, left = story()
    where = "base_model.model.lm_head"
    copy = row_at(view_table(left), f"{where}.modules_to_save.math")
    for rule, status in (("PV201", Status.FAULT), ("PV202", Status.FAULT), ("PV103", Status.LEFTOVER)):
        findings = [Finding(rule, "error", where, "math", "", {}, "", True)]
        table = view_table(left, audit=Audit(findings, left))
        assert table.status[row_at(table, where)] == status
        assert table.summary["leftover_rows"] == (status is Status.LEFTOVER)
        assert bool(table.summary["leftover_bytes"]) == (status is Status.LEFTOVER)
        assert table.findings[0]["red"]
    both = [
        Finding(rule, "error", f"{where}.modules_to_save.math", "math", "", {}, "", True) for rule in ("PV101", "PV201")
    ]
    assert view_table(left, audit=Audit(both, left)).status[copy] == Status.LEFTOVER
    drawn = to_text(Audit([Finding("PV201", "error", where, None, "", {}, "", True)], left, adapters))
    assert "⚠ FAULT" in drawn
    assert "LEFTOVER" not in drawn


def test_an_audit_is_its_snapshot_or_the_diff_from_its_baseline() -> None:
    first, _, left = story()
    alone, compared = view_table(audit_snapshot(left)), view_table(audit_snapshot(left, baseline=first))
    assert alone.summary["single"]
    assert not compared.summary["single"]
    assert len(compared.findings) >= len(alone.findings) > 0


def test_many_findings_are_placed_as_few_are() -> None:
    _, _, left = story(40)
    paths = [p for p in left.module_paths() if p.endswith("q_proj")] + left.tensor_paths()[:40]
    findings = [Finding("PV999", "info", where, None, "", {}, "", False) for where in paths]
    table = view_table(left, audit=Audit(findings, left))
    assert [path(table, finding["row"]) for finding in table.findings] == paths


def test_tied_weights_count_once_and_say_so() -> None:
    model = plain(1)
    embedding = model.root.children["model"].children["embed"]
    model.root.children["lm_head"].tensors["weight"] = Slot(embedding.tensors["weight"].tensor)
    table = view_table(model.snapshot())
    head, embed = row_at(table, "lm_head.weight"), row_at(table, "model.embed.weight")
    assert (table.bytes_after[head], table.bytes_after[embed]) == (0, 128_000)
    assert text(table, "note", head) == "shared with model.embed.weight"
    assert text(table, "note", embed) == "shared with lm_head.weight"
    payload = dict(zip(table.details["rows"], table.details["payload"], strict=True))
    assert table.details["payloads"][payload[head]] == {"shared_with": ["model.embed.weight"], "sharers": 1}


def test_a_module_that_occurs_twice_says_where_it_is() -> None:
    model = plain(1)
    model.root.children["again"] = model.root.children["lm_head"]
    table = view_table(model.snapshot())
    again = row_at(table, "again")
    assert text(table, "note", again) == "alias of lm_head"
    assert table.bytes_after[again] == 0
    assert text(table, "shape_after", again) == "1000 × 64"


def test_mixed_dtypes_are_called_mixed() -> None:
    model = plain(1)
    model.root.children["lm_head"].tensors["bias"] = Slot(Tensor(model.serial(), (1000,)))
    table = view_table(model.snapshot())
    assert text(table, "dtype_after", row_at(table, "lm_head")) == "mixed"
    assert text(table, "dtype_after", row_at(table, "model")) == "bf16"


def test_changed_attributes_of_peft_modules_are_listed_by_name() -> None:
    _, adapters, left = story(1)
    table = view_table(diff(adapters, left))
    layer = row_at(table, "base_model.model.model.layers.0.q_proj")
    assert [change for change in table.changes if change[0] == layer] == [
        [layer, "r", {"default": 8, "math": 8}, {"default": 8}]
    ]
    assert [change[1] for change in table.changes if change[0] == 0] == ["registries", "adapters.math"]


def test_details_are_sparse_and_interned() -> None:
    _, adapters, left = story(50)
    details = view_table(diff(adapters, left)).details
    assert len(details["rows"]) == 101  # 100 LoRA layers and the wrapper of the head
    assert len(details["payloads"]) == 2
    assert details["rows"] == sorted(details["rows"])


def test_classes_of_one_name_stay_apart() -> None:
    _, adapters, _ = story(1)
    table = view_table(adapters)
    assert {"Linear", "lora.Linear"} <= set(table.strings)


def test_memory_parts_put_the_base_first_and_sum_up_the_small_ones() -> None:
    model = plain(1)
    for index in range(9):
        weight = Slot(Tensor(model.serial(), (index + 1, 2)))
        model.root.children[f"extra{index}"] = Node(model.serial(), "zoo.Extra", tensors={"weight": weight})
    snapshot = model.snapshot()
    parts = view_table(snapshot).roles
    assert [part[0] for part in parts][:3] == ["embed", "lm_head", "layers"]
    assert parts[-1][0] == "other"
    assert sum(part[4] for part in parts) == snapshot.totals.bytes


def test_an_empty_diff_has_no_changes() -> None:
    _, adapters, _ = story()
    table = view_table(diff(adapters, adapters))
    assert set(table.status.tolist()) == {Status.SAME}
    assert table.changes == []


@pytest.mark.parametrize("name", ["default", "math"])
def test_the_table_follows_the_reversed_diff(name: str) -> None:
    second = adapted(plain(), "default", "math")
    change: Diff = diff(second.snapshot(), half_deleted(second, name).snapshot())
    there, back = view_table(change), view_table(change.reverse())
    assert there.summary["bytes"] == back.summary["bytes"][::-1]
    assert there.summary["counts"]["removed"] == back.summary["counts"]["added"]
    assert (there.role == Role.SAVED).sum() == (back.role == Role.SAVED).sum()
