"""No name, however hostile, reaches a page or a terminal as anything but text."""

from __future__ import annotations

import html
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftviz.views.escaping import dot_html, html_text, visible

texts = st.text(st.characters(), max_size=60)


@given(texts)
def test_nothing_hidden_stays(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(shown) <= 160
    assert visible(shown.replace("\\", "")) == shown.replace("\\", "")


@given(texts)
def test_html_holds_no_markup_and_reads_back_as_what_is_visible(text: str) -> None:
    for escaped in (html_text(text), dot_html(text, 160)):
        assert not set(escaped) & set("<>\"'")
        assert html.unescape(escaped) == visible(text)


@given(st.text(st.sampled_from("abc\\ \n"), max_size=12), st.text(st.sampled_from("abc\\ \n"), max_size=12))
def test_different_short_names_look_different(one: str, other: str) -> None:
    assert (visible(one) == visible(other)) == (one == other)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("two\nlines\tand\r", "two\\nlines\\tand\\r"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\ud800", "\\ud800"),
        ("non\u00a0breaking\u3164", "non\\xa0breaking\\u3164"),
        ("back\\slash", "back\\\\slash"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("Z" + "\u0335" * 6, "Z" + "\u0335" * 4 + "\\u0335\\u0335"),
        ("שָׁלוֹם नमस्ते", "שָׁלוֹם नमस्ते"),
        ("naïve 模型 ∞", "naïve 模型 ∞"),
        ("", ""),
    ],
)
def test_hidden_characters_become_visible(hostile: str, shown: str) -> None:
    assert visible(hostile) == shown


def test_a_long_name_is_cut_in_the_middle() -> None:
    shown = visible("a" * 50_000 + "b" * 50_000)
    assert shown == "a" * 80 + "…" + "b" * 79
    assert visible("x" * 160) == "x" * 160
    assert visible("x" * 161, 21) == "x" * 10 + "…" + "x" * 10


def test_a_short_name_of_hidden_characters_is_cut_after_they_became_visible() -> None:
    assert len(visible("\u200b" * 100)) == 160
