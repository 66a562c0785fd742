"""Fresh environments, of whichever Python is here."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MYPY"))}
    surroundings |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1", **environment}
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def interpreter(version: str) -> str | None:
    """A Python of that version that starts: on the path, or one of pyenv's."""
    places = [shutil.which(f"python{version}"), *glob.glob(f"{Path.home()}/.pyenv/versions/{version}.*/bin/python")]
    for place in filter(None, places):
        probe = [place, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.')"]
        result = subprocess.run(probe, capture_output=True, text=True, check=False)
        if result.returncode == 0 and result.stdout.strip() == version:
            return place
    return None


def environment_of(python: str, folder: Path) -> Path:
    run(python, "-m", "venv", folder)
    return folder / "bin" / "python"
