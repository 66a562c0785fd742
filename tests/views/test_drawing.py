"""The drawing that goes to the browser: shapes of what `dot` drew, and nothing that could do anything."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.errors import PeftvizError
from peftviz.views.renderers.drawing import MAX_SHAPES, read_drawing
from peftviz.views.renderers.graph import PALETTE, draw
from peftviz.views.viewmodel.table import Status, view_table
from tests.views.hostile import HIDDEN, NAMES, hostile
from tests.views.story import story

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="the dot program is not installed")

HEAD = '<svg viewBox="0 0 9 9" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'


def svg(inside: str) -> str:
    return f'{HEAD}<g transform="scale(1 1) rotate(0) translate(4 5)">{inside}</g></svg>'


def drawn(*states: Any) -> list[list[Any]]:
    subject = states[0] if len(states) == 1 else diff(*states)
    table = view_table(subject, audit=audit_snapshot(states[-1]))
    return read_drawing(draw(states, table, linked=True).pipe(format="svg", encoding="utf-8")).shapes


@needs_dot
def test_each_line_of_the_picture_knows_its_row() -> None:
    _, adapters, left = story()
    table = view_table(diff(adapters, left), audit=audit_snapshot(left))
    shapes = drawn(adapters, left)
    (red,) = [row for row in range(len(table)) if table.status[row] == Status.LEFTOVER]
    texts = {shape[-1] for shape in shapes if shape[0] == "text" and shape[1] == red}
    assert {"lm_head.modules_to_save.math", "◆ LEFTOVER", "128 kB"} <= texts
    assert {shape[2] for shape in shapes if shape[0] == "polygon" and shape[1] == red} == {"ground", "red-ground"}
    assert {shape[1] for shape in shapes} <= {-1, *range(len(table))}


@needs_dot
def test_every_colour_is_one_of_the_palette_and_arrows_are_dashed() -> None:
    first, adapters, _ = story()
    shapes = drawn(first, adapters)
    known = {"", *PALETTE.values()}
    assert {shape[2] for shape in shapes} <= known
    assert {"moved", "moved-ground", "added-ground"} <= {shape[2] for shape in shapes}
    arrows = [shape for shape in shapes if shape[0] == "path" and shape[4]]
    assert len(arrows) == 4
    assert {shape[3] for shape in arrows} == {"moved"}


@needs_dot
def test_a_snapshot_is_one_state() -> None:
    texts = [shape[-1] for shape in drawn(story()[0]) if shape[0] == "text"]
    assert "now" in texts
    assert not {"before", "after"} & set(texts)


@needs_dot
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_hostile_names_are_texts_and_nothing_else(name: str) -> None:
    for states in (hostile(name)[:2], hostile(name)[1:], hostile(name)[:1]):
        for kind, row, *rest in drawn(*states):
            assert kind in ("polygon", "path", "text")
            assert isinstance(row, int)
            words = [value for value in rest if isinstance(value, str)]
            if kind == "text":
                assert not set(HIDDEN) & set(words.pop())
            assert not any(character in "<>&:\"'();" for word in words for character in word)


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<image xlink:href="https://example.invalid/a.png"/>',
        '<foreignObject><body xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>',
        '<a xlink:href="javascript:alert(1)"><rect width="9" height="9"/></a>',
        "<style>*{fill:url(https://example.invalid)}</style>",
        '<path d="M0,0 url(#x)"/>',
        '<polygon points="0,0 expression(1)"/>',
        '<use xlink:href="#x"/>',
        "<animate/>",
        "<title>x</title><desc>y</desc>",
    ],
)
def test_what_is_not_known_is_left_behind(inside: str) -> None:
    assert read_drawing(svg(inside)).shapes == []


def test_links_attributes_and_colours_that_are_not_ours_do_not_come_along() -> None:
    shape = '<text x="1" y="2" fill="url(#x)" onclick="alert(1)" style="x" class="y" font-size="9">t</text>'
    drawing = read_drawing(svg(f'<a xlink:href="https://example.invalid">{shape}</a><a xlink:href="row:7">{shape}</a>'))
    text = ["text", -1, "ink", 1.0, 2.0, "start", 9.0, False, False, False, "t"]
    assert drawing.shapes == [text, ["text", 7, *text[2:]]]
    assert drawing.shift == (4.0, 5.0)
    assert "alert" not in json.dumps(drawing.shapes)


@pytest.mark.parametrize("broken", ["", "<svg", f"{HEAD}</svg>", "<svg viewBox='x'/>", svg("<g>") + "x"])
def test_what_is_no_picture_is_refused(broken: str) -> None:
    with pytest.raises(PeftvizError, match="cannot be read") as refusal:
        read_drawing(broken)
    assert refusal.value.hint


def test_a_picture_too_large_for_a_browser_is_refused() -> None:
    with pytest.raises(PeftvizError, match="shapes"):
        read_drawing(svg("<text>x</text>" * (MAX_SHAPES + 1)))
