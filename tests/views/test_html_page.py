"""The exported page: one file, closed by its own policy, the same each time."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from peftviz.core.diff import diff
from peftviz.errors import PeftvizError
from peftviz.views.inspector.page import _pairs, to_html
from tests.views.story import adapted, plain

BUNDLE = Path(__file__).parents[2] / "peftviz" / "views" / "static" / "inspector.js"


@pytest.fixture
def story() -> Any:
    before = plain()
    return diff(before.snapshot(), adapted(before, "default", "math").snapshot())


def digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_policy_allows_the_inline_parts_and_nothing_else(story: Any) -> None:
    page = to_html(story)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.group(1).split(";"))
    script = re.search(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert script is not None
    assert style is not None
    assert rules == {
        "default-src": "'none'",
        "script-src": f"'{digest(script.group(1))}'",
        "style-src": f"'{digest(style.group(1))}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert script.group(1) == BUNDLE.read_text(encoding="utf-8")


def test_nothing_points_outside(story: Any) -> None:
    page = to_html(story)
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//""", page)
    assert "url(" not in page
    assert "@import" not in page


def test_same_object_same_page(story: Any) -> None:
    assert to_html(story) == to_html(story)


def test_page_is_written(story: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page = to_html(story, path)
    assert path.read_bytes() == page.encode("utf-8")
    with pytest.raises(PeftvizError, match="cannot be written"):
        to_html(story, tmp_path / "no such folder" / "page.html")


def test_hostile_names_cannot_leave_their_element() -> None:
    before = plain()
    evil = "</script><img src=x onerror=alert(1)>"
    page = to_html(diff(before.snapshot(), adapted(before, evil).snapshot()))
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 3


def test_bundle_keeps_its_budget() -> None:
    assert BUNDLE.stat().st_size <= 92_000


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_page_has_every_pair_that_there_is_room_for(count: int) -> None:
    pairs = _pairs([300] * count)
    assert pairs[0] == (count - 1, max(0, count - 2)), "what the page opens with"
    assert sorted(pairs) == [(index, base) for index in range(count) for base in range(count)]


def test_without_room_a_page_compares_with_the_step_before_and_with_the_first_state() -> None:
    pairs = _pairs([10_000_000] * 4)
    assert sorted(pairs) == [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 2)]
    some = _pairs([100_000] * 6)
    assert len(set(some)) == len(some) < 36
    assert set(some) > {(index, index - 1) for index in range(1, 6)}
    assert {(index, base) for index in range(6) for base in range(index)} <= set(some), "forwards first"
