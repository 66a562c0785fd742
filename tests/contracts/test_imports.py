"""What is loaded when: proven in a fresh interpreter, because this one has long imported everything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import peftviz

HEAVY = {"accelerate", "diffusers", "peft", "torch", "transformers"}
FOR_NOTEBOOKS = {"IPython", "anywidget", "graphviz", "ipywidgets", "pandas"}

VIEW_A_SAVED_DIFF = """
import sys
import peftviz

before, after = (peftviz.load(path) for path in sys.argv[1:])
changes = peftviz.diff(before, after)
assert changes
assert "q_proj" in changes.to_text()
assert "q_proj" in changes.to_html()
assert "q_proj" in changes._repr_mimebundle_()["text/plain"]
assert len(changes.to_frame())
assert len(peftviz.audit(after).to_frame()) >= 0
"""


def loaded_by(program: str, *arguments: str) -> set[str]:
    """Top-level packages that a program leaves loaded in a fresh interpreter."""
    report = "\nimport sys\nprint('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", program + report, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition("LOADED")[2].split())


@pytest.fixture
def saved(tmp_path: Path, tiny_llama: Callable[..., Any], lora: Callable[..., Any]) -> tuple[str, str]:
    """Snapshots of a model before and after its first adapter, in two files."""
    from peft import get_peft_model

    model = tiny_llama()
    before = peftviz.capture(model).save(tmp_path / "before.pvs")
    after = peftviz.capture(get_peft_model(model, lora())).save(tmp_path / "after.pvs")
    return str(before), str(after)


def test_importing_peftviz_loads_nothing_heavy() -> None:
    loaded = loaded_by("import peftviz; dir(peftviz)")
    assert "peftviz" in loaded
    assert loaded & (HEAVY | FOR_NOTEBOOKS) == set()


def test_viewing_a_saved_diff_loads_neither_torch_nor_peft(saved: tuple[str, str]) -> None:
    assert loaded_by(VIEW_A_SAVED_DIFF, *saved) & HEAVY == set()


REOPEN_A_SESSION = """
import sys
import peftviz

timeline = peftviz.Timeline.load(sys.argv[1])
widget = peftviz.Inspector(timeline)
assert widget._table
assert widget._steps[1]["counts"]["wrapped"]
widget.compare(1, 0)
widget.select("lm_head")
assert list(widget.selection.to_frame()["path"]) == ["lm_head"]
assert "q_proj" in widget.to_html()
"""


def test_a_saved_session_opens_in_the_widget_without_torch(
    tmp_path: Path, tiny_llama: Callable[..., Any], lora: Callable[..., Any]
) -> None:
    from peft import get_peft_model

    model = tiny_llama()
    with peftviz.watch(model, display=False) as session:
        get_peft_model(model, lora())
    path = session.timeline.save(tmp_path / "session.peftviz")
    assert loaded_by(REOPEN_A_SESSION, str(path)) & HEAVY == set()


def test_looking_at_a_saved_diff_without_showing_it_loads_no_notebook_library(saved: tuple[str, str]) -> None:
    program = "import sys, peftviz\nassert list(peftviz.diff(*map(peftviz.load, sys.argv[1:])))"
    assert loaded_by(program, *saved) & (HEAVY | FOR_NOTEBOOKS) == set()


@pytest.mark.parametrize("package", ["torch", "peft"])
def test_the_contract_can_fail(package: str, saved: tuple[str, str]) -> None:
    assert package in loaded_by(f"import {package}\n{VIEW_A_SAVED_DIFF}", *saved) & HEAVY


def test_a_public_name_that_needs_torch_is_seen_to_load_it() -> None:
    assert "torch" in loaded_by("import peftviz; peftviz.capture")


def test_a_program_that_fails_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        loaded_by("1 / 0")
