"""The README is run: every Python block in it, from top to bottom, as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))),
]


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = list(BLOCK.finditer(README))
    assert len(blocks) >= 3
    scope: dict[str, object] = {}
    for block in blocks:
        line = README.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block.group(1), "README.md", "exec"), scope)  # noqa: S102 (our own README)
    printed = capsys.readouterr().out
    assert "math" in printed
    assert "bytes freed" in printed


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text) + re.findall(r"(?:src|srcset)=\"(?!https?:)([^\"]+)", text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []
