"""The committed matrix of methods is what its command writes for the installed PEFT, and peftviz leaves nothing.

That of kinds is compared for each release by `tests/upstream/test_residue_kinds.py`, which tries them anyway.
"""

from __future__ import annotations

import re

import pytest

from tests.upstream.releases import INSTALLED, ask
from tests.upstream.residue import page
from tests.upstream.residue.kinds import KINDS
from tools.residue_matrix import method_cell

pytestmark = pytest.mark.upstream


def test_the_methods_are_what_the_command_writes_for_the_installed_peft() -> None:
    measured = ask(INSTALLED, "tests.upstream.residue.methods")["methods"]
    titles = {entry.title for entry in KINDS.values()}
    shown = {name: cell for name, cell in page.column(INSTALLED).items() if name not in titles}
    assert {name: cell for name, cell in shown.items() if cell != "–"} == {
        name: method_cell(one) for name, one in measured.items() if one is not None
    }


def test_peftviz_leaves_nothing() -> None:
    ours = re.findall(r"→ (\S+ / \S+)", page.text())
    assert len(ours) > 150
    assert set(ours) == {"0 / 0"}


def test_every_cell_of_peft_is_a_figure_or_an_exception() -> None:
    cells = re.findall(r"\| (\S+) / (\S+) →", page.text())
    assert len(cells) > 150
    assert all(part.isdigit() or part.endswith("Error") for cell in cells for part in cell)
    assert sum(cell != ("0", "0") for cell in cells) > 100
