"""The PEFT releases that lie beside the installed one, and how to run something with one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RELEASES = Path(os.environ.get("PEFTVIZ_UPSTREAM_DIR", ROOT / ".upstream"))
OLDER = ("0.14.0", "0.15.1", "0.18.1")
INSTALLED = version("peft")


def folder_of(release: str) -> Path | None:
    """Where a release lies; None for the installed one.

    Raises:
        FileNotFoundError: It is not there.
    """
    if release == INSTALLED:
        return None
    folder = RELEASES / f"peft-{release}"
    if not folder.is_dir():
        raise FileNotFoundError(f"no PEFT {release} in {RELEASES}: run tools/install_upstream.py")
    return folder


def ask(release: str, module: str) -> dict[str, Any]:
    """Runs a module as a program with a release of PEFT and reads the JSON on the last line that it prints."""
    folder = folder_of(release)
    path = [str(folder.resolve())] if folder is not None else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", module]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    if ran.returncode:
        raise RuntimeError(f"{module} with PEFT {release} failed:\n{ran.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert answer["peft"] == release
    return answer
