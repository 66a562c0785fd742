"""Runs the tests of what changes a model on other real PEFT releases, each in a process of its own.

The releases lie in `$PEFTVIZ_UPSTREAM_DIR/peft-<version>` (default `.upstream`), each with a transformers that fits;
`tools/install_upstream.py` puts them there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RELEASES = Path(os.environ.get("PEFTVIZ_UPSTREAM_DIR", ROOT / ".upstream"))
VERSIONS = ("0.14.0", "0.15.1", "0.18.1")
ALARMS = ("test_audit_matrix.py",)
DELETIONS = ("test_deletion_states.py",)
STATES = (
    "test_audit_residue.py",
    "test_audit_structure.py",
    "test_audit_tokens.py",
    "test_deletion.py",
    "test_deletion_inside.py",
    "test_deletion_last.py",
    "test_deletion_oracle.py",
    "test_deletion_rollback.py",
    "test_deletion_ways.py",
    "test_repair.py",
    "test_repair_findings.py",
    "test_switching.py",
    "test_unload.py",
)
"""Short ones, in one process: to start one with torch and PEFT takes longer than most of them."""

METHODS = ("test_deletion_methods.py", "test_deletion_variants.py")
"""On the releases that every method is tested on: those from 0.15 on."""

pytestmark = pytest.mark.upstream


def run(version: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    release = RELEASES / f"peft-{version}"
    if not release.is_dir():
        pytest.skip(f"no PEFT {version} in {RELEASES}: run tools/install_upstream.py")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(release.resolve()), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_release_is_the_one_that_is_imported(version: str) -> None:
    look = "from importlib import metadata, util; print(util.find_spec('peft').origin, metadata.version('peft'))"
    origin, found = run(version, "-c", look).stdout.split()
    assert Path(origin) == (RELEASES / f"peft-{version}" / "peft" / "__init__.py").resolve()
    assert found == version


@pytest.mark.parametrize(
    ("version", "files"),
    [
        *((version, files) for version in VERSIONS for files in (ALARMS, DELETIONS, STATES)),
        *((version, (file,)) for version in VERSIONS[1:] for file in METHODS),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} files" if len(value) > 1 else value[0],
)
def test_what_changes_a_model_on(version: str, files: tuple[str, ...]) -> None:
    paths = [f"tests/live/{file}" for file in files]
    result = run(version, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *paths)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    assert " passed" in result.stdout


CLASSIC = """
import gc, weakref, torch
from tests.live.zoo import one_adapter, two_adapters
from tests.oracle import differences
import peftviz

handle = two_adapters("heads", "peft")
copy = weakref.ref(handle.model.base_model.model.lm_head.modules_to_save["b"].weight)
handle.model.delete_adapter("b")
gc.collect()
print("PEFT leaves it:", copy() is not None, peftviz.audit(handle.model).clean)
report = peftviz.repair(handle.model)
print("repaired:", copy() is None, report.freed.bytes == 32 * 16 * 4, report.freed.alive == (), report.audit.clean)
print("equal:", differences(report.model, one_adapter("heads", "peft").model) == [])
"""


def test_the_classic_leftover_on_the_release_that_has_it() -> None:
    """Huggingface/peft#2381, fixed in 0.16."""
    result = run("0.15.1", "-W", "ignore", "-c", CLASSIC)
    assert result.stdout.splitlines() == [
        "PEFT leaves it: True False",
        "repaired: True True True True",
        "equal: True",
    ], result.stderr
