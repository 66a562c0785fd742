"""Sentences of core in other languages: recognised by their English, with what stands in them, and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from string import Formatter
from typing import Any

import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.core.operation_plan import HEADS, OperationPlan
from peftviz.core.plan import Action, DeletionPlan, Freed
from peftviz.core.rules import RULES
from peftviz.core.timeline import Step, Timeline
from peftviz.views.inspector.language import english
from peftviz.views.inspector.plans import Plans
from peftviz.views.inspector.wire import encode
from peftviz.views.inspector.wording import PHRASES, as_sent, lines_of, said, translated
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
        for key in finding["evidence"]:
            assert english()[f"evidence.{key}"] == key.replace("_", " ")
    assert encode(table) == encode(table)


def test_the_lines_of_plans_and_reports_are_known() -> None:
    kinds = (
        "unmerge",
        "remove",
        "detach",
        "activate",
        "deactivate",
        "train",
        "freeze",
        "unwrap",
        "forget",
        "restore",
        "attach",
        "cast",
    )
    details = ("config of 'b'", "entry 'b'", "Linear comes off", "mentioned in r, scaling", "3 parameters of 'a'")
    actions = [Action(kind, "a.b" * (len(detail) % 2), detail) for kind in kinds for detail in details]
    plan = DeletionPlan(
        "b", "PeftModel", [*actions * 3], ("b", "x", "ghost"), ("b",), ("a",), ("a",), 3, 81, False, True,
        warnings=("bias='all' of 'b' trains biases of the base model in place; they keep their trained values.",),
        experts=("x",),
    )  # fmt: skip
    last = replace(plan, is_last=True, next_active=(), tensors=1)
    operations = [OperationPlan(name, ("a",), "tuner", actions[:2], 10) for name in HEADS]
    freed = Freed(12, 1, (("a.weight", ("a variable `x`",)),))
    texts = [line for shown in (plan, last, *operations, freed) for line in shown.lines()]
    sent = as_sent(lines_of([*texts, "Deleted adapter 'b'; go on with report.model, a PeftModel", "Nothing to repair"]))
    assert [line for line, found in zip(sent["lines"], sent["said"], strict=True) if found is None] == []
    assert sent["lines"][: len(texts)] == texts
    for line, found in zip(sent["lines"], sent["said"], strict=True):
        assert re.sub(" +", " ", found["before"] + english_of(found)) == re.sub(" +", " ", line)


def test_the_plan_of_a_repair_is_its_findings() -> None:
    _, before, after = story()
    findings = [finding for finding in audit_snapshot(after, baseline=before) if finding.repairable]
    step = Step("by hand", "step", before, after, baseline=before)
    plans = Plans({"repair": lambda: None}, Timeline(before, [step]))
    plan = plans.make({"do": "repair"})
    assert len(plan["lines"]) == 2 * len(findings) > 0
    assert {found["name"].split(".")[0] for found in plan["said"]} == {"finding", "remedy"}
    assert plan["lines"][0] == f"{findings[0].rule} {findings[0].path}: {findings[0].message}"
