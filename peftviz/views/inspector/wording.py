"""Sentences of core in the message files: each is recognised by its English, so that core knows of no language.

A text of the English file such as `"{count} layers hold weights of {name}"` recognises what core writes. Its name and
what stands in its holes travel to the browser, which says the same in the language of its reader; what no text
recognises is shown as core wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import Any

from peftviz.views.inspector.language import english

PHRASES = "phrase."
"""How the names of texts begin that stand in the holes of others."""
_NUMBERS = frozenset({"count", "total", "more", "times", "bytes"})
"""Holes that hold a whole number, and nothing else."""
_LONGEST = 4_000
"""Longer sentences are shown as they are: they are cut on the way to the reader, and name what nobody reads."""
_COLUMNS = re.compile(r"^([a-z]+(?: one)?) {2,}")
"""The first word of a line of a plan, and the blanks that bring what follows into a column."""

Said = dict[str, Any]
"""What `said` returns."""
_Parts = tuple[tuple[str, str | None], ...]
"""Literal texts, each with the name of the hole that follows, None at the end."""


def said(text: str, family: str) -> Said | None:
    """Which text of the message files says the same.

    Args:
        text: A sentence of core.
        family: How the names of the texts begin that come into question.

    Returns:
        `name` of the text, and `values` for its holes: strings, or again such a dictionary where a phrase stands in a
        hole. None where no text says the same.
    """
    if len(text) > _LONGEST:
        return None
    for name, parts in _family(family):
        values = _filled(parts, text)
        if values is not None:
            return {"name": name, "values": {hole: said(value, PHRASES) or value for hole, value in values.items()}}
    return None


def translated(finding: Mapping[str, Any]) -> dict[str, Any]:
    """A finding as it travels: with `message_said` and `remedy_said`, where a text says the same as core."""
    told = {
        "message_said": said(finding["message"], f"finding.{finding['rule']}."),
        "remedy_said": said(finding["remedy"], f"remedy.{finding['rule']}."),
    }
    return {**finding, **{key: value for key, value in told.items() if value is not None}}


@dataclass(frozen=True)
class Line:
    """A line of a plan or a report.

    Attributes:
        text: What it says.
        before: What stands before that as it is: an indentation, a place.
        family: How the names of the texts begin that may say the same.
    """

    text: str
    before: str = ""
    family: str = "plan."


def lines_of(texts: Iterable[str]) -> list[Line]:
    """The lines of a plan or a report as core writes them, each with its indentation."""
    return [Line(text.lstrip(" "), " " * (len(text) - len(text.lstrip(" ")))) for text in texts]


def as_sent(lines: Iterable[Line]) -> dict[str, Any]:
    """Lines as they travel.

    Returns:
        `lines`, whole, and `said`: for each line what says the same after `before`, or None.
    """
    whole, told = [], []
    for line in lines:
        found = said(_COLUMNS.sub(r"\1 ", line.text), line.family)
        whole.append(line.before + line.text)
        told.append(None if found is None else {"before": line.before, **found})
    return {"lines": whole, "said": told}


@cache
def _family(family: str) -> tuple[tuple[str, _Parts], ...]:
    """The texts of a family, those with the most words of their own first: they are the least likely to be mistaken."""
    found = []
    for name, message in english().items():
        if name.startswith(family) and isinstance(message, str):
            parts = [(literal, hole) for literal, hole, _, _ in Formatter().parse(message)]
            if parts[-1][1] is not None:
                parts.append(("", None))
            found.append((name, tuple(parts)))
    return tuple(sorted(found, key=lambda entry: -sum(len(literal) for literal, _ in entry[1])))


def _filled(parts: _Parts, text: str) -> dict[str, str] | None:
    """What stands in the holes, each as short as can be; None where the text is another one. In linear time."""
    (start, hole), *rest = parts
    if not text.startswith(start):
        return None
    at = len(start)
    values: dict[str, str] = {}
    for literal, following in rest:
        end = text.find(literal, at) if following is not None else len(text) - len(literal)
        if end < at or text[end : end + len(literal)] != literal:
            return None
        value = text[at:end]
        if values.setdefault(hole or "", value) != value or (hole in _NUMBERS and not value.replace(",", "").isdigit()):
            return None
        at, hole = end + len(literal), following
    return values if at == len(text) else None
