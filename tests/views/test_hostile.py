"""The corpus of hostile names through every renderer without a browser; `tests/ui/test_hostile.py` has the others."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.views.inspector.page import to_html
from peftviz.views.renderers.static_html import static_html
from peftviz.views.renderers.text import to_text
from tests.views.hostile import HIDDEN, NAMES, everything, hostile, plan, timeline

each_name = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())

TAGS = {
    "b", "br", "code", "details", "div", "i", "li", "pre", "span", "summary", "table", "tbody", "td", "th", "thead",
    "tr", "ul",
}  # fmt: skip


def subjects(name: str) -> list[Any]:
    first, second, third = hostile(name)
    return [first, second, diff(first, second), audit_snapshot(third, baseline=first), plan(name), timeline(name)]


class Elements(HTMLParser):
    """Collects tags and attributes, and refuses what is nested wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag != "br":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def close(self) -> None:
        super().close()
        assert self._open == []


@each_name
@pytest.mark.parametrize("width", [60, 100])
def test_text_keeps_its_width_and_its_lines(name: str, width: int) -> None:
    for subject in subjects(name):
        lines = to_text(subject, width=width).split("\n")
        assert all(len(line) <= width for line in lines)
        assert all(line.isprintable() for line in lines)
        assert not set(HIDDEN) & set("".join(lines))


@each_name
def test_static_html_has_its_own_elements_only(name: str) -> None:
    for subject in subjects(name):
        piece = static_html(subject)
        assert not set(HIDDEN) & set(piece)
        elements = Elements()
        elements.feed(piece)
        elements.close()
        assert elements.tags <= TAGS
        assert elements.attributes <= {"style", "open"}


@each_name
def test_the_page_has_its_own_elements_only(name: str) -> None:
    page = to_html(timeline(name))
    assert not set(HIDDEN) & set(page)
    before, script, after = page.partition('<script type="module">')
    assert script
    assert "<script>" not in before
    assert "owned" not in after[after.index("</script>") :]
    assert before.count("<script") == before.count("</script>")
    page.encode("utf-8")


@each_name
def test_dot_and_what_it_draws(name: str) -> None:
    first, second, third = hostile(name)
    for picture in (first.graph(), diff(first, second).graph(), diff(second, third).graph()):
        assert not set(HIDDEN) & set(picture.source)
        assert len(picture.source) < 200_000
        if shutil.which("dot"):
            root = ET.fromstring(picture.pipe(format="svg", encoding="utf-8"))
            tags = {element.tag.rpartition("}")[2] for element in root.iter()}
            assert tags <= {"svg", "g", "title", "polygon", "path", "text", "polyline", "ellipse"}


@each_name
def test_frames_hold_the_names_as_they_are(name: str) -> None:
    """A DataFrame is data: what is shown of it elsewhere is made harmless there."""
    first, second, _ = hostile(name)
    assert name in {path.partition(".")[0] for path in first.to_frame()["path"]} or name in set(
        first.to_frame()["path"]
    )
    assert second.to_frame("adapters")["name"].tolist() == ["default", name]
    assert len(diff(first, second).to_frame()) == len(diff(first, second))


def test_all_names_at_once() -> None:
    change = diff(*everything())
    for text in (to_text(change), static_html(change), change.graph().source, change.to_markdown()):
        assert not set(HIDDEN) & set(text)
        assert len(text) < 500_000
