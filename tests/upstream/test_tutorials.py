"""The tutorials after the first on the oldest PEFT that each of them names: what they prove must hold there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
RELEASES = {"0.14": "0.14.0", "0.15": "0.15.1"}

PROOFS = {
    "02_what_get_peft_model_does": ("undo", 2),
    "03_the_checkpoint_that_lost_its_weights": ("rescue", 1),
    "04_gallery_of_methods": ("delete", 10),
    "05_many_adapters": ("delete", 2),
}
"""By notebook the cell that proves its point, and how many of the lines that it prints end with True."""

pytestmark = pytest.mark.upstream


def test_every_tutorial_is_run_on_an_older_peft() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("0[2-9]_*.ipynb")) == sorted(PROOFS)


@pytest.mark.parametrize("name", sorted(PROOFS))
def test_it_runs_on_the_oldest_peft_that_it_names(name: str, tmp_path: Path) -> None:
    text = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    first = nbformat.reads(text, as_version=4).cells[0].source
    named = re.search(r"with PEFT (\d+\.\d+) or later", first)
    assert named, "the first cell says which PEFT the notebook needs"
    release = ROOT / ".upstream" / f"peft-{RELEASES[named.group(1)]}"
    if not release.is_dir():
        pytest.skip(f"{release.name} is not there: run tools/install_upstream.py")
    notebook = tmp_path / "tutorial.ipynb"
    notebook.write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(release), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tools" / "run_tutorial.py"), "--save", str(notebook)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    proof, expected = PROOFS[name]
    cells = {cell.id: cell for cell in nbformat.read(notebook, as_version=4).cells}
    printed = "".join(output.get("text", "") for output in cells[proof].outputs).splitlines()
    assert sum(line.endswith("True") for line in printed) == expected
    assert not any(line.endswith("False") for line in printed)
