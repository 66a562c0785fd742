"""The tutorials after the first on the oldest supported PEFT: what they prove must hold there.

A notebook that needs more says so in its first cell. It is skipped by name on the oldest, and run on the one that it
names. The newest PEFT is that of the environment: there nbval compares every output.
"""

from __future__ import annotations

import importlib.util
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
OLDEST = "0.14"

PROOFS = {
    "02_what_get_peft_model_does": ("undo", 2),
    "03_the_checkpoint_that_lost_its_weights": ("rescue", 1),
    "04_gallery_of_methods": ("delete", 10),
    "05_many_adapters": ("delete", 2),
    "06_debugging_clinic": ("round", 8),
    "07_real_weights": ("proof", 4),
}
"""By notebook the cell that proves its point, and how many of the lines that it prints end with True."""

pytestmark = pytest.mark.upstream


def first_cell(name: str) -> str:
    return str(nbformat.reads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"), as_version=4).cells[0].source)


def needed(name: str) -> str:
    named = re.search(r"with PEFT (\d+\.\d+) or later", first_cell(name))
    assert named, f"the first cell of {name} says which PEFT it needs"
    return named.group(1)


def test_every_tutorial_is_run_on_an_older_peft() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("0[2-9]_*.ipynb")) == sorted(PROOFS)


def test_the_oldest_is_the_one_that_an_installation_allows() -> None:
    assert f'"peft>={OLDEST}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "peft"), [(name, peft) for name in PROOFS for peft in sorted({OLDEST, needed(name)})])
def test_it_runs_on_an_older_peft(name: str, peft: str, tmp_path: Path) -> None:
    if peft != needed(name):
        pytest.skip(f"{name} needs PEFT {needed(name)}, as its first cell says")
    for package in re.findall(r"^pip install --no-deps ([\w-]+)==", first_cell(name), re.MULTILINE):
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            pytest.skip(f"{name} needs {package}, as its first cell says")
    release = ROOT / ".upstream" / f"peft-{RELEASES[peft]}"
    if not release.is_dir():
        pytest.skip(f"{release.name} is not there: run tools/install_upstream.py")
    text = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
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
