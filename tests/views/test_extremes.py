"""Odd and hostile snapshots: every renderer copes, and stays short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from peftviz.core.diff import diff
from peftviz.core.rows import Adapter, AdapterState
from peftviz.views.renderers.dataframe import diff_frame
from peftviz.views.renderers.graph import graph
from peftviz.views.renderers.static_html import static_html
from peftviz.views.renderers.text import to_text
from peftviz.views.viewmodel.table import view_table
from tests.core.stand_in import Model, Node, Slot, Tensor
from tests.views.story import LINEAR, adapted, linear, plain

EVIL = "</code><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u202e\"'`{{7*7}}$(id)"


def empty() -> Model:
    return Model(Node(0), scope=object())


def deep() -> Model:
    """Four hundred modules, each in the one before: deeper than any page can show."""
    model = empty()
    node = model.root
    for _ in range(400):
        node.children["inner"] = Node(model.serial(), LINEAR)
        node = node.children["inner"]
        node.children["side"] = linear(model, 2, 2)
    return model


def wide() -> Model:
    model = empty()
    for index in range(3_000):
        model.root.children[f"m{index}"] = linear(model, index + 1, 1)
    return model


def evil() -> Model:
    model = adapted(plain(2), EVIL, "default")
    model.label = EVIL
    model.root.type = f"peft.{EVIL}".replace(".", "")
    model.root.state = {EVIL: EVIL}
    model.root.children[EVIL] = Node(model.serial(), LINEAR, hooks=[EVIL])
    model.root.tensors[EVIL] = Slot(Tensor(model.serial(), (1,), device=EVIL, dtype="float32"))
    model.adapters = (Adapter(EVIL, EVIL, {EVIL: EVIL}, active=True),)
    model.adapter_state = AdapterState(EVIL, EVIL, (EVIL,), True, ((EVIL, (EVIL,)),))
    return model


def long_names() -> Model:
    model = empty()
    for index in range(20):
        model.root.children["x" * 100_000 + str(index)] = linear(model, index + 1, 1)
    model.adapters = tuple(Adapter("n" * 100_000 + str(index), "LORA", {}) for index in range(50))
    return model


def odd_numbers() -> Model:
    """Labels that look like numbers and are none, or are too large."""
    model = empty()
    for name in ("00", "01", "1", "²", "٣", "-1", "9" * 30, "0"):
        model.root.children[name] = linear(model, 2, 2)
    return model


def huge_tensor() -> Model:
    model = empty()
    model.root.tensors["weight"] = Slot(Tensor(1, (2**40, 2**20)))
    return model


MODELS = [empty, deep, wide, evil, long_names, odd_numbers, huge_tensor]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("render", [to_text, static_html])
def test_each_state_and_its_coming_and_going_can_be_shown(
    make: Callable[[], Model], render: Callable[[Any], str]
) -> None:
    snapshot, nothing = make().snapshot(), empty().snapshot()
    for subject in (snapshot, diff(nothing, snapshot), diff(snapshot, nothing), diff(snapshot, snapshot)):
        shown = render(subject)
        assert len(shown) < 700_000
        assert render is to_text or not ("<script" in shown or "<img" in shown)
        assert "\x1b" not in shown
        assert "\u202e" not in shown


@pytest.mark.parametrize("make", MODELS)
def test_each_coming_can_be_drawn_and_tabled(make: Callable[[], Model]) -> None:
    change = diff(empty().snapshot(), make().snapshot())
    source = graph(change).source
    assert len(source) < 200_000
    assert not any(character in source for character in "\x1b\u202e")
    assert len(diff_frame(change)) == len(change)
    assert len(view_table(change)) >= 1


def test_no_name_ends_an_attribute_or_a_tag() -> None:
    page = static_html(evil().snapshot())
    assert "onerror=alert" not in page.replace("onerror=alert(1)&gt;", "")
    assert "&lt;script&gt;" in page
