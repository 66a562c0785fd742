"""Runs of alike siblings: only what looks the same all the way down is folded."""

from __future__ import annotations

import pytest

from peftviz.core.diff import diff
from peftviz.views.viewmodel.table import ViewTable, view_table
from tests.core.stand_in import Model, Node
from tests.views.story import adapted, linear, plain, story


def labels(table: ViewTable) -> list[tuple[str, int]]:
    return [(run.label, len(run)) for run in table.runs.values()]


def blocks(model: Model) -> dict[str, Node]:
    return model.root.children["model"].children["layers"].children


def test_layers_alike_are_one_run() -> None:
    first, adapters, left = story(32)
    assert labels(view_table(first)) == [("0–31", 32)]
    assert labels(view_table(diff(adapters, left))) == [("0–31", 32)]
    assert labels(view_table(diff(first, adapters))) == [("0–31", 32)]


@pytest.mark.parametrize(
    "change",
    [
        lambda block, model: block.children.update(q_proj=linear(model, 64, 32)),
        lambda block, model: block.children.update(v_proj=linear(model, 64, 64, requires_grad=False)),
        lambda block, model: block.children.update(v_proj=linear(model, 64, 64, device="cuda:0")),
        lambda block, model: block.children.update(extra=linear(model, 64, 64)),
        lambda block, model: block.children.pop("v_proj"),
        lambda block, model: setattr(block, "type", "zoo.OtherLayer"),
        lambda block, model: block.children["q_proj"].children.update(inner=block.children.pop("v_proj")),
        lambda block, model: block.children.update(renamed=block.children.pop("v_proj")),
    ],
    ids=["shape", "trainable", "device", "one more", "one less", "class", "nested deeper", "name"],
)
def test_a_layer_that_looks_different_parts_the_run(change: object) -> None:
    model = plain(9)
    change(blocks(model)["4"], model)  # type: ignore[operator]
    assert labels(view_table(model.snapshot())) == [("0–3", 4), ("5–8", 4)]


def test_a_field_that_changed_in_one_layer_parts_the_run() -> None:
    before = adapted(plain(5), "default")
    after = before.copy()
    block = after.root.children["base_model"].children["model"].children["model"].children["layers"].children["2"]
    block.children["q_proj"].state = {"_active_adapter": ["default"], "r": {"default": 16}}
    assert labels(view_table(diff(before.snapshot(), after.snapshot()))) == [("0–1", 2), ("3–4", 2)]


def test_numbers_that_do_not_follow_one_another_are_no_run() -> None:
    model = plain(4)
    children = blocks(model)
    children["7"] = children.pop("3")
    children["x"] = linear(model, 2, 2)
    assert labels(view_table(model.snapshot())) == [("0–2", 3)]


def test_runs_nest() -> None:
    model = plain(1)
    for block in blocks(model).values():
        experts = Node(model.serial(), "torch.nn.modules.container.ModuleList")
        experts.children = {str(index): linear(model, 8, 8) for index in range(6)}
        block.children["experts"] = experts
    assert labels(view_table(model.snapshot())) == [("0–5", 6)]
