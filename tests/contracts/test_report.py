"""The HTML report of a tutorial: one file that asks nothing of a network."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tools import run_tutorial

ROOT = Path(__file__).resolve().parent.parent.parent

FETCHES = re.compile(
    r"""<(?:script|img|iframe|audio|video|source|embed|object)\b[^>]*\b(?:src|srcset|data)\s*=\s*["']?(?!data:)[^"'>\s]+
      | <link\b[^>]*\bhref
      | @import
      | url\(\s*["']?(?:https?:)?//
      | \bimport\s*\(?\s*["']https?:
      | \bfetch\(\s*["']https?:
    """,
    re.VERBOSE | re.IGNORECASE,
)


def test_the_report_of_the_first_tutorial_is_self_contained(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "01_leftover_modules_to_save.ipynb", as_version=4)
    page = run_tutorial.write_report(notebook, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "LEFTOVER" in page
    assert "Exercises" in page
    assert FETCHES.findall(page) == []


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://example.org/x.js"></script>',
        "<img alt='' src=picture.png>",
        '<link rel="stylesheet" href="x.css">',
        "<style>a { background: url('//example.org/a.png') }</style>",
        "<script type=module>import('https://example.org/x.mjs')</script>",
    ],
)
def test_a_fetch_is_seen(page: str) -> None:
    assert FETCHES.search(page)
