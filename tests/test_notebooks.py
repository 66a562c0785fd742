"""What a saved tutorial must be for a reader without a kernel. That it runs is checked by nbval, over notebooks/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))
VARYING = re.compile(r"0x[0-9a-f]{6,}|/(?:home|root|tmp|work|Users)/|\b\d+(?:\.\d+)? ?(?:ms|seconds)\b")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text(encoding="utf-8"))


def outputs(notebook: Any) -> Iterator[tuple[str, Any]]:
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            yield cell["id"], output


def text_of(output: Any) -> str:
    data = output.get("data", {})
    parts = [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
    return "\n".join(part if isinstance(part, str) else "".join(part) for part in parts)


def test_there_are_tutorials() -> None:
    assert [path.name for path in NOTEBOOKS][:1] == ["01_leftover_modules_to_save.ipynb"]


def test_it_says_what_is_learned_on_which_peft_and_where_to_look_and_ends_with_exercises(notebook: Any) -> None:
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    assert re.search(r"^(You will learn|你将学到)$", texts[0], re.MULTILINE)
    assert re.search(r"\bwith PEFT \d+\.\d+ or later\b|PEFT \d+\.\d+ 或更高版本", texts[0])
    assert any(re.search(r"\bLook at\b|\bRead it\b|请看", text) for text in texts[1:])
    assert any(re.search(r"^## (Exercises|练习)\n\n1\. ", text, re.MULTILINE) for text in texts[-2:])


def test_the_view_is_shown_and_needs_no_kernel(notebook: Any) -> None:
    shown = [output["data"] for _, output in outputs(notebook) if "data" in output]
    assert any("<details" in "".join(data.get("text/html", "")) for data in shown)
    assert [data for data in shown if "application/vnd.jupyter.widget-view+json" in data] == []


def test_every_cell_was_run_in_order_without_error(notebook: Any) -> None:
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert [cell for cell, output in outputs(notebook) if output["output_type"] == "error"] == []


def test_links_lead_to_reports_or_to_what_is_there(notebook: Any) -> None:
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    for link in re.findall(r"\]\(([^)\s]+)\)", "\n".join(texts)):
        report = re.fullmatch(r"https://github\.com/huggingface/\w+/(?:issues|pull)/\d+", link)
        assert report or (NOTEBOOKS[0].parent / link).exists(), link


def test_it_is_saved_without_widget_state(notebook: Any) -> None:
    assert "widgets" not in notebook["metadata"]


def test_every_shown_object_has_static_html_without_scripts(notebook: Any) -> None:
    shown = [(cell, output["data"]) for cell, output in outputs(notebook) if "data" in output]
    assert shown
    for cell, data in shown:
        assert "text/html" in data, cell
        assert "<script" not in "".join(data["text/html"]).lower(), cell


def test_nothing_in_the_outputs_differs_from_run_to_run(notebook: Any) -> None:
    found = {cell: VARYING.findall(text_of(output)) for cell, output in outputs(notebook)}
    assert {cell: matches for cell, matches in found.items() if matches} == {}


def test_the_leftover_is_there_and_goes_away() -> None:
    notebook = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))
    texts: dict[str, str] = {}
    for cell, output in outputs(notebook):
        texts[cell] = texts.get(cell, "") + text_of(output)
    assert "LEFTOVER" in texts["red"]
    assert "LEFTOVER" not in texts["fixed"]
    proof = [line for line in (texts["proof"] + texts["reload"]).splitlines() if line]
    assert len(proof) == 5
    assert all(line.endswith("True") for line in proof)
