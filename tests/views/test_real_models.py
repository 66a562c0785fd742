"""Real PEFT models: the table of each state and step keeps its laws, and the pages show what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import peftviz
from peftviz.core.snapshot import Snapshot
from peftviz.views.renderers.static_html import static_html
from peftviz.views.renderers.text import to_text
from peftviz.views.viewmodel.table import Status, view_table
from tests.views.test_static_html import read
from tests.views.test_table import check_cover, check_totals, check_tree, path

pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

Maker = Callable[..., Any]


def life(model: Any, lora: Maker) -> Iterator[Snapshot]:
    """A model gets two adapters, loses one by the per-layer idiom that leaves copies behind, and is unloaded."""
    from peft import get_peft_model

    yield peftviz.capture(model)
    handle = get_peft_model(model, lora(modules_to_save=["lm_head"]))
    yield peftviz.capture(handle)
    handle.add_adapter("math", lora("q_proj", "up_proj", modules_to_save=["lm_head"], use_dora=True))
    yield peftviz.capture(handle)
    layers = [module for module in handle.modules() if type(module).__module__.startswith("peft.tuners.lora.layer")]
    for layer in layers:
        if hasattr(type(layer), "delete_adapter"):
            layer.delete_adapter("math")
    del handle.peft_config["math"]
    yield peftviz.capture(handle)
    yield peftviz.capture(handle.unload())


@pytest.mark.parametrize("tied", [False, True])
def test_every_pair_of_states_keeps_the_laws(tiny_llama: Maker, lora: Maker, tied: bool) -> None:
    states = list(life(tiny_llama(tied=tied), lora))
    for before in states:
        for after in states:
            table = view_table(peftviz.diff(before, after))
            check_tree(table)
            check_cover(table, before, after)
            check_totals(table, before, after)


def test_the_copy_that_was_left_is_the_red_row(tiny_llama: Maker, lora: Maker) -> None:
    states = list(life(tiny_llama(), lora))
    table = view_table(peftviz.diff(states[2], states[3]), audit=peftviz.audit(states[3]))
    red = [path(table, row) for row in range(len(table)) if table.status[row] == Status.LEFTOVER]
    assert "base_model.model.lm_head.modules_to_save.math" in red
    assert table.summary["leftover_bytes"] == 64 * 32 * 4


def test_two_models_made_alike_are_shown_alike(tiny_llama: Maker, lora: Maker) -> None:
    first, second = (list(life(tiny_llama(), lora)) for _ in range(2))
    for place in range(1, len(first)):
        one = peftviz.diff(first[place - 1], first[place])
        other = peftviz.diff(second[place - 1], second[place])
        assert to_text(one) == to_text(other)
        assert static_html(one) == static_html(other)
        read(static_html(one))
