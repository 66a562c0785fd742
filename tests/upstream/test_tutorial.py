"""The first tutorial on older, real PEFT: the classic bug where it lives, and the same story where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TUTORIAL = ROOT / "notebooks" / "01_leftover_modules_to_save.ipynb"

pytestmark = pytest.mark.upstream


@pytest.mark.parametrize(("version", "classic"), [("0.14.0", True), ("0.15.1", True), ("0.18.1", False)])
def test_the_story_ends_well_on_an_older_peft(version: str, classic: bool, tmp_path: Path) -> None:
    site = ROOT / ".upstream" / f"peft-{version}"
    if not site.is_dir():
        pytest.skip(f"PEFT {version} is not there: run tools/install_upstream.py")
    notebook = tmp_path / "tutorial.ipynb"
    notebook.write_bytes(TUTORIAL.read_bytes())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, str(ROOT / "tools" / "run_tutorial.py"), "--save", str(notebook)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    printed = {
        cell.id: "".join(output.get("text", "") for output in cell.outputs)
        for cell in nbformat.read(notebook, as_version=4).cells
        if cell.cell_type == "code"
    }
    assert f"leaves a copy behind: {classic}" in printed["delete"]
    assert "PV101" in printed["audit"]
    proof = (printed["proof"] + printed["reload"]).strip().splitlines()
    assert len(proof) == 5
    assert all(line.endswith("True") for line in proof)
