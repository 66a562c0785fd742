"""Sessions in a real kernel: shown once when they begin, and again where the reader asks."""

from __future__ import annotations

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parents[2]
CELLS = {
    "prepare": "import warnings; warnings.simplefilter('ignore')\n"
    "import peftviz\nfrom tests.live.watched import get_peft_model, llama, lora\nbase = llama()",
    "begin": "session = peftviz.watch(base)",
    "operate": "model = get_peft_model(base, lora(), 'a')",
    "ask": "session",
    "close": "session.close()",
    "begin and ask": "session = peftviz.watch(model)\nsession",
    "begin silently": "session = peftviz.watch(model, display=False)",
    "begin silently and ask": "peftviz.watch(model, display=False)",
}


@pytest.fixture(scope="module")
def outputs() -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Kind and data of the outputs of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()])
    resources = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return {
        name: [(output["output_type"], output.get("data", {})) for output in cell["outputs"]]
        for name, cell in zip(CELLS, notebook.cells, strict=True)
    }


pytestmark = pytest.mark.filterwarnings("default")  # of the libraries that drive the kernel


def test_a_session_shows_itself_when_it_begins(outputs: dict[str, list[tuple[str, dict[str, str]]]]) -> None:
    ((kind, data),) = outputs["begin"]
    assert kind == "display_data"
    assert data["text/plain"].startswith("0 recorded steps")
    assert "<script" not in data["text/html"]


def test_an_operation_adds_no_output_of_its_own(outputs: dict[str, list[tuple[str, dict[str, str]]]]) -> None:
    assert [kind for kind, _ in outputs["operate"] if kind != "stream"] == []


def test_it_shows_itself_again_where_it_is_asked_for(outputs: dict[str, list[tuple[str, dict[str, str]]]]) -> None:
    ((kind, data),) = outputs["ask"]
    assert kind == "execute_result"
    assert "get_peft_model('a')" in data["text/plain"]


def test_it_is_not_shown_twice_in_one_cell(outputs: dict[str, list[tuple[str, dict[str, str]]]]) -> None:
    (first, _), (second, data) = outputs["begin and ask"]
    assert (first, second) == ("display_data", "execute_result")
    assert data == {"text/plain": "Session(open, 0 steps from PeftModel)"}


def test_it_can_begin_in_silence(outputs: dict[str, list[tuple[str, dict[str, str]]]]) -> None:
    assert outputs["begin silently"] == []
    ((kind, data),) = outputs["begin silently and ask"]
    assert kind == "execute_result"
    assert "text/html" in data
