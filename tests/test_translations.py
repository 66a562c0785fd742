"""The Chinese tutorial and README do what the English ones do: the same code but for texts, the same commands."""

from __future__ import annotations

import io
import json
import re
import tokenize
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAME = "01_leftover_modules_to_save"
CHINESE = re.compile(r"[\u4e00-\u9fff]")
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def cells(file: str) -> dict[str, Any]:
    return {cell["id"]: cell for cell in json.loads((ROOT / "notebooks" / file).read_text(encoding="utf-8"))["cells"]}


def spoken(code: str) -> list[str]:
    """The tokens of a piece of code, without comments and layout."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return [token.string for token in tokens if token.type not in LAYOUT]


def assert_same_but_for_texts(english: str, chinese: str) -> None:
    ours, theirs = spoken(english), spoken(chinese)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        if one != other:
            assert CHINESE.search(other), f"{other} is not {one}, and no translation of it"
            assert sorted(re.findall(r"{.*?}", one)) == sorted(re.findall(r"{.*?}", other))


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_notebooks_have_the_same_cells() -> None:
    english, chinese = cells(f"{NAME}.ipynb"), cells(f"{NAME}.zh.ipynb")
    kinds = [(name, cell["cell_type"]) for name, cell in english.items()]
    assert kinds == [(name, cell["cell_type"]) for name, cell in chinese.items()]


@pytest.mark.parametrize("cell", [name for name, cell in cells(f"{NAME}.ipynb").items() if cell["cell_type"] == "code"])
def test_a_cell_of_code_differs_in_texts_only(cell: str) -> None:
    english, chinese = cells(f"{NAME}.ipynb")[cell], cells(f"{NAME}.zh.ipynb")[cell]
    assert_same_but_for_texts("".join(english["source"]), "".join(chinese["source"]))
    assert english["metadata"] == chinese["metadata"]


def test_the_code_of_an_answer_differs_in_texts_only() -> None:
    english, chinese = (
        re.findall(
            r"^```python\n(.*?)^```$", "".join(cells(f"{NAME}{ending}")["answers"]["source"]), re.DOTALL | re.MULTILINE
        )
        for ending in (".ipynb", ".zh.ipynb")
    )
    assert len(english) == len(chinese) > 0
    for one, other in zip(english, chinese, strict=True):
        assert_same_but_for_texts(one, other)


def test_all_that_is_said_is_said_in_chinese() -> None:
    said = [cell for cell in cells(f"{NAME}.zh.ipynb").values() if cell["cell_type"] == "markdown"]
    assert [cell["id"] for cell in said if not CHINESE.search("".join(cell["source"]))] == []


def test_the_readmes_have_the_same_code() -> None:
    english, chinese = blocks("README.md", "python"), blocks("README.zh.md", "python")
    assert len(english) == len(chinese)
    for one, other in zip(english, chinese, strict=True):
        assert_same_but_for_texts(one, other)
    assert blocks("README.md", "text") == blocks("README.zh.md", "text")


def test_the_readmes_have_the_same_commands() -> None:
    def commands(page: str) -> list[str]:
        return [line.partition("#")[0].strip() for block in blocks(page, "console") for line in block.splitlines()]

    assert commands("README.md") == commands("README.zh.md")


def test_the_readmes_name_the_same_calls() -> None:
    def calls(page: str) -> set[str]:
        return set(re.findall(r"^\| `(peftviz\.\w+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE))

    assert calls("README.md") == calls("README.zh.md")


def test_each_readme_leads_to_the_other() -> None:
    assert "[中文](README.zh.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "[English](README.md)" in (ROOT / "README.zh.md").read_text(encoding="utf-8")
    assert f"({NAME}.zh.ipynb)" in "".join(cells(f"{NAME}.ipynb")["title"]["source"])
    assert f"({NAME}.ipynb)" in "".join(cells(f"{NAME}.zh.ipynb")["title"]["source"])


def test_the_glossary_has_a_chinese_word_for_each_term() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(.+)\n:   ", text, re.MULTILINE)
    assert len(terms) > 20
    untranslated = [term for term in terms if not CHINESE.search(term)]
    assert untranslated == ["`modules_to_save`"], "a name in code stays as it is"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [("f(1)", "f(2)"), ("print('a')", "print('b')"), ("print(f'{x} left')", "print(f'还有 {y}')"), ("f(x)", "f(x, 1)")],
)
def test_a_difference_that_is_no_translation_is_seen(english: str, chinese: str) -> None:
    with pytest.raises(AssertionError):
        assert_same_but_for_texts(english, chinese)
