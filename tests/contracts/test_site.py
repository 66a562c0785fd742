"""The documentation site: built strictly, complete, and asking nothing of another host."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import peftviz
from tests.contracts.test_report import FETCHES

pytest.importorskip("mkdocs")

ROOT = Path(__file__).resolve().parent.parent.parent
ELSEWHERE = re.compile(
    r"""<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|srcset|href)\s*=\s*["']?(?:https?:)?//[^"'>\s]+"""
)
STYLE = re.compile(r"""@import\s*["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = {"NO_MKDOCS_2_WARNING": "1", "PATH": ""}  # an unknown program could not be called
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_each_page_is_there(site: Path) -> None:
    pages = [page.relative_to(ROOT / "docs").with_suffix(".html") for page in ROOT.glob("docs/**/*.md")]
    pages += [Path("notebooks") / f"{path.stem}.html" for path in ROOT.glob("notebooks/*.ipynb")]
    assert [page for page in pages if not (site / page).exists()] == []


def test_no_page_and_no_style_loads_from_another_host(site: Path) -> None:
    pages = sorted(site.glob("**/*.html"))
    assert len(pages) > 30
    assert [(page.name, hit) for page in pages for hit in ELSEWHERE.findall(page.read_text("utf-8"))] == []
    assert [style.name for style in site.glob("**/*.css") if STYLE.search(style.read_text("utf-8"))] == []


def test_a_tutorial_is_a_page_of_its_own(site: Path) -> None:
    page = (site / "notebooks" / "01_leftover_modules_to_save.html").read_text("utf-8")
    assert "LEFTOVER" in page
    assert FETCHES.findall(page) == []
    assert 'href="../index.html"' in page, "a way back"
    assert "@media (prefers-color-scheme: dark)" in page
    assert 'href="01_leftover_modules_to_save.zh.html"' in page


def test_what_a_tutorial_folds_is_folded_on_its_page(site: Path) -> None:
    page = (site / "notebooks" / "06_debugging_clinic.html").read_text("utf-8")
    assert len(re.findall(r"<summary>(?:Hint|Finding)</summary>", page)) == 16
    assert not re.search(r"<summary>(?:Hint|Finding)</summary>\s*</details>", page)


def test_the_chinese_readme_is_a_page(site: Path) -> None:
    page = (site / "zh.html").read_text("utf-8")
    assert "第一个红色的行" in page
    assert re.search(r'<img [^>]*src="images/inspector-light.png"', page)
    assert 'href="notebooks/01_leftover_modules_to_save.zh.html"' in page


def test_the_reference_holds_exactly_the_public_names(site: Path) -> None:
    page = (site / "reference.html").read_text("utf-8")
    headings = set(re.findall(r'<h3 id="peftviz\.(\w+)"', page))
    assert headings == set(peftviz.__all__)
    assert 'id="peftviz.Snapshot.find"' in page, "methods of public classes too"
    assert not re.search(r'id="peftviz\.\w+\._', page)


@pytest.mark.parametrize("tag", ['<script src="https://a.org/x.js">', "<link rel=stylesheet href=//a.org/x.css>"])
def test_a_page_that_loads_from_elsewhere_is_seen(tag: str) -> None:
    assert ELSEWHERE.search(tag)
