"""The examples on the pages of the rules bring about what the pages say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from peftviz.auditing import audit
from peftviz.core.rules import RULES

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PEFT warns of much that the pages warn of
    pytest.mark.usefixtures("sentences"),
]

PAGES = Path(__file__).parents[2] / "docs" / "rules"
MENDED = {"PV101", "PV103", "PV104"}
"""Pages that name the versions of PEFT on which their example leaves nothing behind."""


def example(page: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL))


@pytest.mark.parametrize("code", [rule.code for rule in RULES])
def test_the_example_of_a_page(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some examples save a checkpoint
    names: dict[str, Any] = {}
    exec(example("index") + example(code), names)  # noqa: S102  # our own pages
    model = names.get("model", names["base"])
    found = audit(model, baseline=names.get("baseline"), optimizer=names.get("optimizer")).of(code)
    assert found or code in MENDED
