"""The pages are run: every Python block of the README and of docs/, from the top of its page down, as a reader would.

The pages of the rules have a test of their own, `tests/live/test_rule_pages.py`; the page whose code is meant for two
versions of PEFT is run with two, by `tests/upstream/test_two_versions.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OUTPUT = re.compile(r"^```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [
    "README.md",
    "README.zh.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))),
]
ELSEWHERE = ("docs/rules/", "docs/how-to/compare-two-peft-versions.md")
PROGRAMS = [page for page in PAGES if BLOCK.search((ROOT / page).read_text("utf-8")) and not page.startswith(ELSEWHERE)]
PRINTED = {
    "README.md": ["lm_head.modules_to_save.math  ◆ LEFTOVER  1000 × 32", "PV101", "128000 bytes freed"],
    "README.zh.md": ["lm_head.modules_to_save.math  ◆ LEFTOVER  1000 × 32", "PV101", "128000 bytes freed"],
    "docs/quick-start.md": ["PV101", "128000 bytes too many"],
    "docs/how-to/find-out-why-memory-is-not-freed.md": ["held by AdamW param_groups[0]", "0 bytes freed"],
    "docs/how-to/check-an-adapter-before-saving.md": ["PV101 warning", "freed 1 tensor"],
    "docs/how-to/get-the-base-model-back.md": ["Unloaded 'chat'; go on with report.model", "unwrap 5"],
    "docs/neighbours.md": ["but the configs are ['chat']", "Linear (math)", "PV101"],
}


def test_pages_with_code_are_known() -> None:
    assert set(PRINTED) == set(PROGRAMS)


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_code_of_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    scope: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block.group(1), page, "exec"), scope)  # noqa: S102 (our own pages)
    printed = capsys.readouterr().out
    assert [words for words in PRINTED[page] if words not in printed] == []
    shown = [line for block in OUTPUT.findall(text) for line in block.splitlines()]
    assert [line for line in shown if line not in printed] == []


@pytest.mark.parametrize("page", ["README.md", "docs/quick-start.md"])
def test_the_first_red_row_comes_within_three_minutes(page: str) -> None:
    to_the_red_row = (ROOT / page).read_text(encoding="utf-8").partition("LEFTOVER")[0]
    assert len(to_the_red_row.split()) < 3 * 150, "150 words a minute, code included"


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text) + re.findall(r"(?:src|srcset)=\"(?!https?:)([^\"]+)", text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []
