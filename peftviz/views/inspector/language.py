"""The language of the inspector: its texts lie in `messages/`, one file a language, and travel with the data.

What is saved in notebooks and compared or quoted elsewhere (text, static HTML, Markdown, DOT) stays English.
"""

from __future__ import annotations

import json
import weakref
from functools import cache
from pathlib import Path
from typing import Any

from peftviz.errors import LookupFailure, near_matches

_MESSAGES = Path(__file__).parents[1] / "messages"
LANGUAGES = ("en", "zh")
"""Languages that have a message file; the first is for readers whose browser asks for none of them."""

SENTENCES = ("evidence.", "finding.", "phrase.", "plan.", "remedy.")
"""How the names of texts begin that say what core says: see `wording.py`."""

Catalog = dict[str, Any]
"""Texts by name; one that depends on a number is a dictionary of its plural forms."""

_chosen: str | None = None
_listeners: weakref.WeakSet[Any] = weakref.WeakSet()


def set_language(language: str | None) -> None:
    """Chooses the language of inspectors and exported pages, those on show included.

    Args:
        language: `"en"`, `"zh"`, or None to follow each reader's browser, as at first.

    Raises:
        LookupFailure: There is no such language.
    """
    global _chosen
    if language is not None and language not in LANGUAGES:
        raise LookupFailure(
            f"There are no texts in the language {language!r}.",
            where="peftviz.set_language(language)",
            hint=near_matches(str(language), LANGUAGES) or f"Languages: {', '.join(LANGUAGES)}; None asks the browser.",
        )
    _chosen = language
    for listener in list(_listeners):
        listener.language_changed()


def catalogs() -> dict[str, Catalog]:
    """The texts to send: those of the chosen language, or all of them for the browser to choose from.

    English sentences stay here: they travel as core wrote them.
    """
    return {language: dict(_sent(language)) for language in ((_chosen,) if _chosen else LANGUAGES)}


def english() -> Catalog:
    """The English texts: what core writes is recognised by them."""
    return _catalog(LANGUAGES[0])


def add_listener(listener: Any) -> None:
    """Calls `listener.language_changed()` whenever a language is chosen, as long as the listener lives."""
    _listeners.add(listener)


@cache
def _catalog(language: str) -> Catalog:
    catalog: Catalog = json.loads((_MESSAGES / f"{language}.json").read_text(encoding="utf-8"))
    return catalog


@cache
def _sent(language: str) -> Catalog:
    catalog = _catalog(language)
    if language != LANGUAGES[0]:
        return catalog
    return {name: text for name, text in catalog.items() if not name.startswith(SENTENCES)}
