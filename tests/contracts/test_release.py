"""What a user would get: wheel and sdist, built, looked into, and installed into fresh environments."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.metadata import Metadata

import peftviz
from tests.contracts.environments import environment_of, interpreter, run
from tests.views.story import story

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent.parent
CONSUMER = Path(__file__).parent / "consumer"

WITHOUT_TORCH = """
import pathlib, sys
import peftviz

assert "site-packages" in peftviz.__file__, peftviz.__file__
before, after = (peftviz.load(path) for path in sys.argv[1:])
changes = peftviz.diff(before, after)
assert "LEFTOVER" in changes.to_text()
assert "modules_to_save" in changes.to_html(pathlib.Path("page.html"))
assert [finding.rule for finding in peftviz.audit(after)] == ["PV101"]
assert peftviz.patch(before, changes) == after
assert peftviz.load(after.save("again.pvs")) == after
try:
    peftviz.capture(None)
except ImportError as error:
    print("no torch:", type(error).__name__)
"""

# Without torch, since only one of these versions has it here: the compiled reader asks of a module its slots alone.
COMPILED = """
from peftviz.live.snapshots import _chunks

class Module:
    def __init__(self, **children):
        self.training = True
        self._parameters, self._buffers, self._modules = {"weight": 1.5, "bias": None}, {}, children
        self._backward_pre_hooks, self._forward_hooks, self._forward_pre_hooks = {}, {}, {0: print}
        self._is_full_backward_hook = None

child, types, names = Module(), {}, {}
ids, kinds, dicts, training, hooked, marked, *entries = _chunks.read_chunk(
    [Module(child=child), child], types, names, ("_modules",)
)
assert dicts[1] is vars(child) and int.from_bytes(ids[8:], "little") == id(child)
assert (kinds, training, hooked, marked) == (bytes(8), bytes([1, 1]), [0, 1], [0])
zero, one = bytes(4), (1).to_bytes(4, "little")
assert entries == [([child], zero, zero), ([1.5, 1.5], zero + one, one + one), ([], b"", b"")]
assert (types, names) == ({Module: 0}, {"child": 0, "weight": 1, "bias": 2})
assert _chunks.read_chunk([object.__new__(Module)], types, names, ()) is None
"""

WITH_TORCH = """
import torch
import peftviz
from peftviz.views.inspector.widget import Inspector

assert "fresh" in peftviz.__file__, peftviz.__file__
snapshot = peftviz.capture(torch.nn.Linear(2, 3))
assert snapshot.totals.parameters == 9
assert peftviz.live.snapshots.chunks.is_compiled()
assert len(Inspector(snapshot)._repr_mimebundle_()) > 0
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel, made from the sdist, and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build_into(folder)
    wheel, sdist = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": next(wheel), "sdist": next(sdist)}


@pytest.fixture(scope="module")
def fresh(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; its dependencies are those that the tests run on, seen by a path file.

    Installing PyTorch anew takes minutes and says nothing about peftviz.
    """
    python = environment_of(sys.executable, tmp_path_factory.mktemp("environment") / "fresh")
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", built["wheel"])
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def test_the_wheel_holds_the_package_and_nothing_else(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        names = set(wheel.namelist())
        bundle = wheel.read("peftviz/views/static/inspector.js")
    assert bundle == (ROOT / "peftviz/views/static/inspector.js").read_bytes()
    assert "peftviz/py.typed" in names
    assert {name.partition("/")[0] for name in names} == {"peftviz", f"peftviz-{peftviz.__version__}.dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    extra = {name for name in names if name.startswith("peftviz/") and not name.endswith(".py")}
    compiled = {f"peftviz/live/snapshots/_chunks.{ending}" for ending in ("abi3.so", "pyi")}
    views = {
        path.relative_to(ROOT).as_posix() for kind in ("css", "json") for path in ROOT.glob(f"peftviz/**/*.{kind}")
    }
    assert extra == {"peftviz/py.typed", "peftviz/views/static/inspector.js", *views, *compiled}, (
        "no TypeScript, no C, no tests"
    )
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("peftviz/**/*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_the_sdist_holds_what_the_checks_need(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "SECURITY.md", "CITATION.cff", "mkdocs.yml", "Makefile"} <= names
    assert {"docs/index.md", "tests/conftest.py", "constraints.txt", "peftviz/views/frontend/app.ts"} <= names
    assert not [name for name in names if name.startswith(("node_modules", ".venv", ".upstream", "site", "build"))]


def test_building_again_gives_the_same_bytes(built: dict[str, Path], tmp_path: Path) -> None:
    build_into(tmp_path)
    for path in built.values():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_metadata_is_valid_and_the_version_is_one(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        text = wheel.read(f"peftviz-{peftviz.__version__}.dist-info/METADATA")
    metadata = Metadata.from_email(text, validate=True)
    assert metadata.name == "peftviz"
    assert str(metadata.version) == peftviz.__version__
    assert metadata.license_expression == "Apache-2.0"
    assert str(metadata.requires_python) == ">=3.10"
    assert Parser().parsestr(text.decode())["Description-Content-Type"] == "text/markdown"
    assert metadata.description
    assert metadata.description.startswith("# peftviz")
    assert {"torch", "peft", "numpy", "anywidget"} <= {need.name for need in metadata.requires_dist or []}
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [peftviz.__version__]
    assert f"\n## {peftviz.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_numpy_alone_is_enough_to_read_a_snapshot(version: str, built: dict[str, Path], tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} is not here")
    before, after = snapshots(tmp_path)
    fresh = environment_of(python, tmp_path / "environment")
    run(fresh, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "numpy>=1.26")
    run(fresh, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", built["wheel"])
    assert "no torch" in run(fresh, "-W", "error", "-c", WITHOUT_TORCH, before, after, cwd=tmp_path)
    assert "1 leftover" in run(fresh.with_name("peftviz"), "show", after, cwd=tmp_path)
    run(fresh, "-W", "error", "-c", COMPILED, cwd=tmp_path)


def test_the_wheel_works_beside_torch(fresh: Path, tmp_path: Path) -> None:
    run(fresh, "-c", WITH_TORCH, cwd=tmp_path)


def test_the_sdist_installs_without_node_and_without_a_compiler(built: dict[str, Path], tmp_path: Path) -> None:
    fresh = environment_of(sys.executable, tmp_path / "environment")
    packages = run(fresh, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(packages) / "builder.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", tmp_path / "there"]
    run(fresh, "-m", "pip", *install, built["sdist"], PATH="", CC="/bin/false", PEFTVIZ_COMPILE="auto")
    installed = tmp_path / "there" / "peftviz"
    assert (installed / "views" / "static" / "inspector.js").exists()
    assert {path.suffix for path in (installed / "live" / "snapshots").glob("_chunks.*")} == {".pyi"}, "pure Python"


@pytest.mark.parametrize(
    ("choice", "compiler", "outcome"),
    [
        ("always", "/bin/false", "/bin/false"),
        ("auto", "/bin/false", "py3-none-any.whl"),
        ("never", "cc", "py3-none-any.whl"),
        ("sometimes", "cc", "PEFTVIZ_COMPILE must be one of auto, always, never, not 'sometimes'"),
    ],
)
def test_whether_it_is_compiled_can_be_chosen(
    choice: str, compiler: str, outcome: str, built: dict[str, Path], tmp_path: Path
) -> None:
    with tarfile.open(built["sdist"]) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    result = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, source],
        env={**os.environ, "PEFTVIZ_COMPILE": choice, "CC": compiler},
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = [path.name for path in tmp_path.glob("*.whl")]
    assert (result.returncode == 0) == bool(wheels) == outcome.endswith(".whl")
    assert outcome in " ".join([*wheels, result.stdout, result.stderr])


def test_a_typed_program_is_checked_against_the_wheel(fresh: Path, tmp_path: Path) -> None:
    shutil.copytree(CONSUMER, tmp_path, dirs_exist_ok=True)
    # Checking PyTorch itself takes most of a minute and says nothing about the types of peftviz.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = true\n[mypy-torch.*]\nfollow_imports = skip\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "mypy", "--python-executable", fresh, "--config-file", "mypy.ini"]
    result = subprocess.run(
        [*map(str, command), "consumer.py", "wrong.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    errors = re.findall(r"^(\w+\.py):\d+: error: .*\[(.*)\]$", result.stdout, re.MULTILINE)
    assert errors == [("wrong.py", "call-arg"), ("wrong.py", "return-value")], result.stdout + result.stderr


def build_into(folder: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, PEFTVIZ_COMPILE="always")


def snapshots(folder: Path) -> tuple[Path, Path]:
    """The state before and after a deletion that left a copy behind, in two files."""
    _, before, after = story()
    return before.save(folder / "before.pvs"), after.save(folder / "after.pvs")
