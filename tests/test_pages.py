"""The pages are run: every Python block of the READMEs and of docs/, from the top of its page down, as a reader would.

Then every command `peftviz` on it.

The pages of the rules have a test of their own, `tests/live/test_rule_pages.py`; the page whose code is meant for two
versions of PEFT is run with two, by `tests/upstream/test_two_versions.py`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from peftviz.cli import TROUBLE, main
from peftviz.core.rules import RULES

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMANDS = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
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
    "docs/how-to/share-what-changed.md": ["### Diff", "```diff", "+ added", "digraph diff"],
    "docs/how-to/switch-and-merge-adapters.md": [
        "'chat' -> 'math'",
        "of base weights; a copy is kept",
        "peftviz.unmerge_adapter",
    ],
    "docs/how-to/use-the-command-line.md": ["### Diff", "session.html", "1 LEFTOVER"],
    "docs/neighbours.md": ["but the configs are ['chat']", "Linear (math)", "PV101"],
}


def commands(text: str) -> list[list[str]]:
    """The words of each command on a page."""
    return [shlex.split(line, comments=True) for block in COMMANDS.findall(text) for line in block.splitlines()]


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
    for command in commands(text):
        if command[0] == "peftviz":
            assert main(command[1:]) != TROUBLE, command
    printed = capsys.readouterr().out
    assert [words for words in PRINTED[page] if words not in printed] == []
    shown = [line for block in OUTPUT.findall(text) for line in block.splitlines()]
    assert [line for line in shown if line not in printed] == []


@pytest.mark.parametrize("page", ["README.md", "docs/quick-start.md"])
def test_the_first_red_row_comes_within_three_minutes(page: str) -> None:
    to_the_red_row = (ROOT / page).read_text(encoding="utf-8").partition("LEFTOVER")[0]
    assert len(to_the_red_row.split()) < 3 * 150, "150 words a minute, code included"


def test_no_block_of_code_hides_from_these_tests() -> None:
    """Python stands in blocks called `python` that begin a line; other blocks are commands and what is printed."""
    kinds = {
        kind for page in PAGES for kind in re.findall(r"^ *```(\w+)", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    }
    assert kinds <= {"python", "console", "text", "json"}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert len(re.findall(r"```python", text)) == len(BLOCK.findall(text)), page
    pages_of_rules = {page for page in PAGES if page.startswith("docs/rules/")}
    assert {f"docs/rules/{rule.code}.md" for rule in RULES} | {"docs/rules/index.md"} == pages_of_rules


def test_commands_on_pages_name_what_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = [line for page in PAGES for line in commands((ROOT / page).read_text(encoding="utf-8"))]
    made = {line[line.index("make") + 1] for line in lines if "make" in line[:2]}
    assert made
    assert made <= targets
    files = {
        word for line in lines for word in line if re.fullmatch(r"(?:tools|tests|notebooks|benchmarks)/[\w./-]+", word)
    }
    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_to_elsewhere_have_the_form_of_one(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"https?://[^\s)>\"`]+", text):
        parts = urlsplit(link)
        assert parts.scheme == "https", link
        assert re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), link
        if parts.netloc == "github.com":
            assert re.fullmatch(r"/[\w.-]+/[\w.-]+(?:/(?:issues|pull)/\d+)?", parts.path), link


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text) + re.findall(r"(?:src|srcset)=\"(?!https?:)([^\"]+)", text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []
