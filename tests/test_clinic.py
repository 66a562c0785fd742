"""The folded findings of the debugging clinic are run: each prints what the text below it says."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

CLINIC = Path(__file__).resolve().parent.parent / "notebooks" / "06_debugging_clinic.ipynb"
FINDING = re.compile(r"<summary>Finding</summary>\n+```python\n(.*?)```\n+prints\n+```text\n(.*?)```", re.DOTALL)
REPORT = re.compile(r"Reported as \[(peft|diffusers)#(\d+)\]\(https://github.com/huggingface/\1/issues/\2\)")
CASES = range(1, 9)

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT warns of some of these faults


def source(cell: Any) -> str:
    return "".join(cell["source"])


@pytest.fixture(scope="module")
def cells() -> dict[str, Any]:
    return {cell["id"]: cell for cell in json.loads(CLINIC.read_text(encoding="utf-8"))["cells"]}


@pytest.fixture(scope="module")
def scope(cells: dict[str, Any]) -> dict[str, Any]:
    """What a reader has after running all cells."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in cells.values():
            if cell["cell_type"] == "code":
                exec(compile(source(cell), cell["id"], "exec"), names)  # noqa: S102 (our own notebook)
    return names


def test_each_case_has_a_complaint_a_state_a_cell_of_ones_own_and_a_folded_finding(cells: dict[str, Any]) -> None:
    for case in CASES:
        assert "> “" in source(cells[f"case-{case}"])
        assert "*Where it happens:*" in source(cells[f"case-{case}"])
        assert cells[f"state-{case}"]["outputs"]
        assert re.fullmatch(r"#[^\n]*", source(cells[f"yours-{case}"]))
        folded = source(cells[f"hint-{case}"])
        assert folded.startswith("<details>")
        assert folded.endswith("</details>")
        assert re.findall(r"<summary>(.*)</summary>", folded) == ["Hint", "Finding"]
        assert REPORT.search(folded)


@pytest.mark.parametrize("case", CASES)
def test_a_finding_says_what_its_code_prints(case: int, cells: dict[str, Any], scope: dict[str, Any]) -> None:
    found = FINDING.search(source(cells[f"hint-{case}"]))
    assert found
    code, printed = found.groups()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, f"finding of case {case}", "exec"), scope)  # noqa: S102 (our own notebook)
    assert out.getvalue() == printed
