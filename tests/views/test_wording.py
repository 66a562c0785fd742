"""Sentences of core in other languages: recognised by their English, with what stands in them, and nothing else."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any

import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.core.rules import RULES
from peftviz.views.inspector.language import english
from peftviz.views.inspector.wire import encode
from peftviz.views.inspector.wording import PHRASES, said, translated
from peftviz.views.viewmodel.table import view_table
from tests.views.hostile import NAMES
from tests.views.story import story

FAMILIES = ("finding.", "remedy.", "plan.", PHRASES)
SENTENCES = {name: text for name, text in english().items() if name.startswith(FAMILIES) and isinstance(text, str)}


def family(name: str) -> str:
    return PHRASES if name.startswith(PHRASES) else name.rpartition(".")[0] + "."


def holes(text: str) -> dict[str, str]:
    names = [hole for _, hole, _, _ in Formatter().parse(text) if hole]
    return {name: str(place + 3) for place, name in enumerate(dict.fromkeys(names))}


def english_of(sentence: Any) -> str:
    """What the browser says in English."""
    if isinstance(sentence, str):
        return sentence
    values = {hole: english_of(value) for hole, value in sentence["values"].items()}
    return re.sub(r"\{(\w+)\}", lambda hole: values[hole[1]], str(english()[sentence["name"]]))


@pytest.mark.parametrize("name", SENTENCES)
def test_a_text_is_known_again_by_what_it_says(name: str) -> None:
    values = holes(SENTENCES[name])
    assert said(SENTENCES[name].format(**values), family(name)) == {"name": name, "values": values}


def test_every_rule_has_texts() -> None:
    told = {name.split(".")[1] for name in SENTENCES if name.startswith("finding.")}
    assert told == {rule.code for rule in RULES}
    for rule in RULES:
        assert said(rule.remedy, f"remedy.{rule.code}.") == {"name": f"remedy.{rule.code}.rule", "values": {}}


def test_phrases_stand_in_sentences() -> None:
    text = "a.weight changed since the baseline, and nothing that is merged explains it (step 2, add_adapter('b'))."
    found = said(text, "finding.PV302.")
    assert found is not None
    assert found["values"]["reason"]["name"] == "phrase.because.unknown"
    assert found["values"]["reason"]["values"]["cause"]["values"] == {"count": "2", "label": "add_adapter('b')"}
    assert english_of(found) == text


def test_what_is_not_known_stays_as_it_is() -> None:
    assert said("Something new.", "finding.PV101.") is None
    assert said("many layers hold weights of 'a', an adapter that no config knows.", "finding.PV103.") is None
    finding = {"rule": "PV101", "message": "Something new.", "remedy": "Do something."}
    assert translated(finding) == finding


@pytest.mark.parametrize("name", [*NAMES.values(), "{count}", "a of b outlived its adapter.", "x" * 5_000], ids=ascii)
def test_names_cannot_change_what_is_said(name: str) -> None:
    for text in (f"A trained copy of {name} outlived its adapter.", f"{name!r} is registered, but {name}."):
        found = said(text, "finding.PV101.") or said(text, "finding.PV204.")
        assert found is None or english_of(found) == text


def test_findings_travel_with_their_sentences() -> None:
    _, before, after = story()
    table = view_table(audit_snapshot(after, baseline=before))
    assert table.findings
    for finding in table.findings:
        sent = translated(finding)
        assert english_of(sent["message_said"]) == finding["message"]
        assert english_of(sent["remedy_said"]) == finding["remedy"]
    assert encode(table) == encode(table)
