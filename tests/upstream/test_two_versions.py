"""The page that compares two versions of PEFT, with two real ones: its first program with each, then its second."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "how-to" / "compare-two-peft-versions.md"
OLD = ROOT / ".upstream" / "peft-0.15.1"

pytestmark = pytest.mark.upstream


def test_the_programs_of_the_page(tmp_path: Path) -> None:
    if not OLD.is_dir():
        pytest.skip("PEFT 0.15.1 is not there: run tools/install_upstream.py")
    text = PAGE.read_text(encoding="utf-8")
    programs = dict(re.findall(r'^```python title="(\S+)"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE))
    assert list(programs) == ["take.py", "compare.py"]

    def run(name: str, *first: Path) -> str:
        path = os.pathsep.join(str(folder) for folder in (*first, ROOT))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", programs[name]]
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    run("take.py", OLD)
    run("take.py")
    printed = run("compare.py")
    assert "PEFT 0.15.1: 119,440 bytes, findings: ['PV101', 'PV104']" in printed
    assert "bytes, findings: none" in printed
    assert "removed base_model.model.lm_head.modules_to_save.math.weight" in printed
    assert (tmp_path / "peft-versions.html").exists()
