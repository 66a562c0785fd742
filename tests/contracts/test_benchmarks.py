"""The benchmark runs and prints a figure for everything that has a budget."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_quick_benchmark_prints_its_table() -> None:
    pytest.importorskip("torchinfo")
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    rows = [line.split("|")[1:-1] for line in ran.stdout.splitlines() if line.startswith("|")]
    assert {len(row) for row in rows} == {6}
    what = " ".join(row[1] for row in rows)
    for measured in (
        "import peftviz",
        "6,651 modules",
        "capture of tree, tensors, storage",
        "capture with adapter state",
        "diff after get_peft_model",
        "diff after a second adapter",
        "kept by a snapshot",
        "peak of a capture",
        "saved snapshot",
        "deletion of one of two adapters",
        "PEFT's own deletion",
        "watch on add_adapter",
        "torchinfo.summary",
    ):
        assert measured in what
    assert all((row[5].strip() in ("pass", "**FAIL**")) == bool(row[4].strip()) for row in rows[2:])
