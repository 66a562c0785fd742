"""The inspector's texts: one file a language, all saying the same, and the language that readers get."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import peftviz
from peftviz.core.rules import RULES
from peftviz.errors import LookupFailure
from peftviz.views.inspector.language import LANGUAGES, SENTENCES, catalogs
from peftviz.views.inspector.page import to_html
from peftviz.views.inspector.widget import Inspector
from peftviz.views.renderers.static_html import static_html
from peftviz.views.renderers.text import to_text
from tests.views.story import plain

VIEWS = Path(peftviz.__file__).parent / "views"
ENGLISH: dict[str, Any] = json.loads((VIEWS / "messages" / "en.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def browser_decides() -> Iterator[None]:
    peftviz.set_language(None)
    yield
    peftviz.set_language(None)


def forms(message: Any) -> list[str]:
    return [message] if isinstance(message, str) else list(message.values())


def holes(message: Any) -> set[str]:
    return {hole for text in forms(message) for hole in re.findall(r"\{(\w+)\}", text)}


def test_there_is_a_file_for_each_language() -> None:
    assert sorted(path.stem for path in (VIEWS / "messages").iterdir()) == sorted(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_say_the_same(language: str) -> None:
    other = json.loads((VIEWS / "messages" / f"{language}.json").read_text(encoding="utf-8"))
    assert list(other) == sorted(ENGLISH), "the same names, in order"
    assert {name for name in other if not all(forms(other[name]))} == set()
    assert {name: holes(other[name]) for name in other} == {name: holes(ENGLISH[name]) for name in ENGLISH}
    plural = {name for name, message in ENGLISH.items() if not isinstance(message, str)}
    assert {name for name, message in other.items() if not isinstance(message, str)} == plural
    assert all("other" in other[name] for name in plural), "each language has this form"


def test_every_text_is_used() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (VIEWS / "frontend").glob("*.ts"))
    families = set(re.findall(r"`([\w.]+)\$\{", sources))  # `status.${name}` and its like
    unused = {
        name
        for name in ENGLISH
        if f'"{name}"' not in sources
        and not any(name.startswith(family) for family in families if "." in family)
        # What core says is looked up by its English: tests/views/test_wording.py.
        and not name.startswith(SENTENCES)
    }
    assert unused == set()


def test_every_rule_has_a_title() -> None:
    told = {name.removeprefix("rule."): text for name, text in ENGLISH.items() if name.startswith("rule.")}
    assert told == {rule.code: rule.title for rule in RULES}


def test_the_browser_chooses_until_a_language_is_set() -> None:
    widget = Inspector(plain().snapshot())
    assert list(widget._texts) == list(LANGUAGES)
    peftviz.set_language("zh")
    assert list(widget._texts) == ["zh"], "a widget on show follows"
    assert list(Inspector(plain().snapshot())._texts) == ["zh"]
    peftviz.set_language(None)
    assert list(widget._texts) == list(LANGUAGES)


def test_sentences_travel_where_they_are_not_those_of_core() -> None:
    sent = catalogs()
    assert not [name for name in sent["en"] if name.startswith(SENTENCES)]
    assert {name for name in sent["zh"] if not name.startswith(SENTENCES)} == set(sent["en"])
    assert set(sent["zh"]) == set(ENGLISH)


def test_a_page_carries_the_texts() -> None:
    snapshot = plain().snapshot()
    both = to_html(snapshot)
    peftviz.set_language("zh")
    assert "\\u6a21\\u5757" in both
    assert '"Only changes"' in both
    chinese = to_html(snapshot)
    assert '"finding.PV101.one"' in chinese
    assert '"plan.removes"' not in chinese, "a page makes no plans"
    assert "\\u6a21\\u5757" in chinese
    assert '"Only changes"' not in chinese


def test_what_notebooks_save_stays_as_it_is() -> None:
    snapshot = plain().snapshot()
    before = to_text(snapshot), static_html(snapshot)
    peftviz.set_language("zh")
    assert (to_text(snapshot), static_html(snapshot)) == before


def test_an_unknown_language_changes_nothing() -> None:
    peftviz.set_language("zh")
    with pytest.raises(LookupFailure, match="'zn'") as caught:
        peftviz.set_language("zn")
    assert "zh" in caught.value.hint
    assert list(catalogs()) == ["zh"]


def test_the_page_lists_the_keys_as_the_help_does() -> None:
    source = (VIEWS / "frontend" / "keyboard.ts").read_text(encoding="utf-8")
    shortcuts = re.findall(r'^  \["([^"]+)", "(\w+)"', source, re.MULTILINE)
    assert len(shortcuts) > 30
    page = (VIEWS.parents[1] / "docs" / "inspector.md").read_text(encoding="utf-8")
    table = page.partition("## Keyboard")[2].partition("\n## ")[0]
    told = [
        tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table.splitlines() if line.startswith("| `")
    ]
    keys = [(" ".join(f"`{key}`" for key in names.split()), ENGLISH[f"key.{does}"]) for names, does in shortcuts]
    assert told == keys
