"""The committed matrix is what its command writes for the installed PEFT, and says that peftviz leaves nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.upstream.releases import INSTALLED, ask
from tools import residue_matrix

PAGE = Path(residue_matrix.PAGE)

pytestmark = pytest.mark.upstream


def column(text: str, release: str) -> dict[str, str]:
    """The cells of one release in the tables of the page, by the first cell of their row."""
    found: dict[str, str] = {}
    at = -1
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells or set(cells) == {"---"}:
            continue
        if release in cells:
            at = cells.index(release)
        elif cells[at] != "–":
            found[cells[0]] = cells[at]
    return found


def test_the_page_is_what_the_command_writes_for_the_installed_peft() -> None:
    text = residue_matrix.page(
        {INSTALLED: ask(INSTALLED, "tests.upstream.residue_kinds")},
        {INSTALLED: ask(INSTALLED, "tests.upstream.residue_methods")},
    )
    committed = PAGE.read_text(encoding="utf-8")
    assert f"| {INSTALLED} |" in committed, f"run tools/residue_matrix.py: the page has no PEFT {INSTALLED}"
    assert column(text, INSTALLED) == column(committed, INSTALLED)


def test_peftviz_leaves_nothing() -> None:
    cells = re.findall(r"→ (\S+ / \S+)", PAGE.read_text(encoding="utf-8"))
    ours = [cell for cell in cells if not cell.endswith("\\*")]
    assert len(ours) > 150
    assert set(ours) == {"0 / 0"}


def test_every_cell_of_peft_is_a_figure_or_an_exception() -> None:
    cells = re.findall(r"\| (\S+) / (\S+) →", PAGE.read_text(encoding="utf-8"))
    assert len(cells) > 150
    assert all(part.isdigit() or part.endswith("Error") for cell in cells for part in cell)
    assert sum(cell != ("0", "0") for cell in cells) > 100
