"""The static piece of HTML: well formed, harmless, complete or saying what it left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

from hypothesis import given

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.core.snapshot import Snapshot
from peftviz.views.renderers.static_html import MAX_LINES, static_html
from tests.core import strategies
from tests.core.stand_in import Model
from tests.views.story import linear, plain, story
from tests.views.test_text import Report, plan, timeline

Golden = Callable[[str, str], None]

VOID = {"br"}
ALLOWED = {
    "div", "span", "b", "i", "code", "pre", "br", "ul", "li", "details", "summary",
    "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip


class Reader(HTMLParser):
    """Checks nesting, and collects tags, attributes and the text that a reader sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.stack == []
    assert reader.tags <= ALLOWED
    assert reader.attributes <= {"style", "open"}
    return reader


def lines(page: str) -> str:
    """One line a block, so that a golden file can be read."""
    return re.sub(r"(?=<(?:div|details|summary|li|tr|pre)[ >])", "\n", page).strip()


def test_golden_leftover(golden: Golden) -> None:
    _, adapters, left = story()
    golden("leftover.html", lines(static_html(diff(adapters, left))))


def test_golden_timeline(golden: Golden) -> None:
    golden("timeline.html", lines(static_html(timeline())))


def test_every_object_reads_well_without_styles() -> None:
    first, adapters, left = story()
    for obj in (first, diff(first, adapters), audit_snapshot(left, baseline=first), plan(), Report(), timeline()):
        text = "".join(read(static_html(obj)).text)
        assert "None" not in text.replace(" → None", "").replace("None → ", "")
        assert text.strip()


def test_the_leftover_is_named_by_word_symbol_and_colour() -> None:
    _, adapters, left = story()
    page = static_html(diff(adapters, left))
    text = "".join(read(page).text)
    assert "◆ 1 leftover · 128 kB" in text
    assert text.count("◆ LEFTOVER") == 2  # the row, and its part of the memory
    row = page[page.index("modules_to_save.math</code>") - 400 : page.index("modules_to_save.math</code>")]
    assert "#b3192b" in row
    assert "PV101" in text


def test_the_way_to_the_leftover_is_open() -> None:
    _, adapters, left = story()
    page = static_html(diff(adapters, left))
    tree = page[page.index("<details") : page.index("Memory by role")]
    before = tree[: tree.index("modules_to_save.math")]
    assert before.count("<details open") == before.count("<details") > before.count("</details>") > 0


def test_what_was_cut_is_said() -> None:
    model = plain(1)
    for index in range(2_000):
        model.root.children[f"head{index}"] = linear(model, index + 1, 2)
    page = static_html(model.snapshot())
    text = "".join(read(page).text)
    tree = text[: text.index("Memory by role")]
    shown = tree.count("head") - tree.count("lm_head")
    assert shown <= MAX_LINES
    assert re.search(r"Not shown: .*[\d,]+ lines for length", text)
    assert len(page) < 400_000


@given(strategies.histories())
def test_any_diff_is_well_formed_and_harmless(states: list[Model]) -> None:
    before, after = (state.snapshot() for state in states)
    page = static_html(diff(before, after))
    read(page)
    assert page == static_html(diff(before, after))


@given(strategies.snapshots())
def test_any_snapshot_is_well_formed_and_harmless(snapshot: Snapshot) -> None:
    read(static_html(snapshot))
