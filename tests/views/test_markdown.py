"""Markdown for issues: golden, true, and nothing untrusted in it outside of code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.views.escaping import visible
from peftviz.views.renderers.markdown import MAX_CHARACTERS, _fenced, code, prose, to_markdown
from tests.core import strategies
from tests.core.stand_in import Model
from tests.views.hostile import HIDDEN, NAMES, everything, hostile, plan, timeline
from tests.views.story import linear, story
from tests.views.story import plain as plain_model

if TYPE_CHECKING:
    from markdown_it.token import Token

Golden = Callable[[str, str], None]

MENTION = re.compile(r"[@#]\w|https?:|www\.|:\w+:|\bGH-\d")


def parsed(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def outside_code(tokens: list[Token]) -> Iterator[Token]:
    """Everything that is neither a code block nor a code span."""
    for token in tokens:
        if token.type == "inline":
            yield from outside_code(token.children or [])
        elif token.type not in ("fence", "code_inline"):
            yield token


def test_golden_leftover(golden: Golden) -> None:
    _, adapters, left = story()
    golden("leftover.md", diff(adapters, left).to_markdown())


def test_golden_snapshot(golden: Golden) -> None:
    golden("snapshot.md", story()[1].to_markdown())


def test_golden_audit(golden: Golden) -> None:
    first, _, left = story()
    golden("audit.md", audit_snapshot(left, baseline=first).to_markdown())


def test_golden_timeline(golden: Golden) -> None:
    golden("timeline.md", to_markdown(timeline("math")))


def test_golden_plan(golden: Golden) -> None:
    golden("plan.md", plan("math").to_markdown())


def test_totals_of_the_table_are_those_of_the_snapshots() -> None:
    _, adapters, left = story()
    text = diff(adapters, left).to_markdown()
    rows = dict(re.findall(r"^\| (\w+) \| ([^|]+) \|", text, re.MULTILINE))
    assert rows["modules"] == f"{adapters.totals.modules} → {left.totals.modules}"
    tree = re.search(r"^```diff\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert tree is not None
    removed = [line for line in tree.group(1).splitlines() if line.startswith("-")]
    assert removed
    assert all("− removed" in line for line in removed)
    assert text.count("◆ LEFTOVER") == 1


def test_a_long_tree_is_cut_and_says_so() -> None:
    model = plain_model(1)
    for index in range(3_000):
        model.root.children[f"{'head' * 30}{index}"] = linear(model, index + 1, 2)
    text = model.snapshot().to_markdown()
    assert len(text) <= MAX_CHARACTERS
    assert re.search(r"Not shown: .*\d lines for length", text)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_no_name_of_the_corpus_leaves_its_code(name: str) -> None:
    first, adapters, left = hostile(name)
    subjects: list[Any] = [first, diff(first, adapters), diff(adapters, left), plan(name), timeline(name)]
    subjects.append(audit_snapshot(left, baseline=first))
    for subject in subjects:
        text = to_markdown(subject)
        assert len(text) <= MAX_CHARACTERS
        assert not set(HIDDEN) & set(text)
        for token in outside_code(parsed(text)):
            assert token.type not in {"link_open", "image", "html_inline", "hr", "heading_open"} or token.tag == "h3"
            if token.type == "html_block":
                assert token.content.startswith(("<details", "<summary", "</details>"))
                assert "owned" not in token.content
            assert not MENTION.search(token.content), token.content
            assert "<" not in token.content or token.type == "html_block"


def test_every_name_of_the_corpus_at_once() -> None:
    text = diff(*everything()).to_markdown()
    assert len(text) <= MAX_CHARACTERS
    assert [token.type for token in parsed(text) if token.type == "fence"] == ["fence"]


@given(st.lists(st.sampled_from(["```", "````", "~~~", "  ```text", "# heading", "@someone", ""]), max_size=6))
def test_no_line_ends_the_block_that_it_stands_in(lines: list[str]) -> None:
    (fence,) = parsed("\n".join(_fenced("text", lines, 9)))
    assert (fence.type, fence.info) == ("fence", "text")
    assert fence.content.splitlines() == lines


def test_the_check_for_code_can_fail() -> None:
    assert any(token.type == "link_open" for token in outside_code(parsed(f"[x{NAMES['markdown']}")))
    assert any(MENTION.search(token.content) for token in outside_code(parsed(NAMES["mention"])))
    assert any(token.type == "html_block" for token in outside_code(parsed(NAMES["script"])))


@given(st.text(st.characters(), min_size=1, max_size=40))
def test_a_code_span_holds_exactly_what_is_visible(name: str) -> None:
    (inline,) = [token for token in parsed(f"x {code(name)} y") if token.type == "inline"]
    spans = [token.content for token in inline.children or [] if token.type == "code_inline"]
    assert [span.strip() for span in spans] == [visible(name).strip()]


@given(st.text(st.sampled_from("ab1_.`*<>[]()#@:/\\|!~ '\"$\n"), max_size=30))
def test_prose_is_plain_text_and_code_and_says_the_same(text: str) -> None:
    children = [child for token in parsed(f"x {prose(text)}") for child in token.children or []]
    assert {child.type for child in children} <= {"text", "code_inline"}
    said = " ".join("".join(child.content for child in children).split())
    assert said == " ".join(f"x {visible(text, 1_000)}".split())


@given(strategies.histories())
def test_any_diff_can_be_told(states: list[Model]) -> None:
    before, after = (state.snapshot() for state in states)
    text = to_markdown(diff(before, after))
    assert text == to_markdown(diff(before, after))
    assert len(text) <= MAX_CHARACTERS
