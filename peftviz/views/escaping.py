"""Names of modules and adapters are untrusted input: what makes them harmless, and hidden characters visible."""

from __future__ import annotations

import functools
import html
import unicodedata
from collections.abc import Iterator

MAX_NAME = 160
"""Characters of a name that are shown; a longer one is cut in the middle."""

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK = frozenset(
    map(chr, (0xA0, 0x115F, 0x1160, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x2800, 0x3000, 0x3164, 0xFFA0))
)
"""Characters that look like a space, or like nothing, and are no control characters."""
_MARKS = frozenset({"Mn", "Me"})
_MAX_MARKS = 4
"""Marks upon one letter that are shown; no script writes more, and piled up they cover the lines around them."""
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


@functools.lru_cache(maxsize=4096)
def visible(text: str, limit: int = MAX_NAME) -> str:
    """A name on one line with nothing hidden in it.

    Control characters, ANSI escapes, marks that turn the writing direction, zero-width characters, lone surrogates and
    marks piled upon one letter are written as escapes; a long name is cut in the middle.

    Args:
        text: Any string.
        limit: Most characters of the result, at least 8.
    """
    plain = text.isascii() and text.isprintable() and "\\" not in text
    if plain and len(text) <= limit:
        return text
    huge = len(text) > 2 * limit  # then there is no need to look at all of it
    seen = text[:limit] + text[-limit:] if huge else text
    shown = "".join(_visible_characters(seen))
    if len(shown) <= limit and not huge:
        return shown
    head = limit // 2
    return f"{shown[:head]}…{shown[len(shown) - (limit - 1 - head) :]}"


def html_text(text: str, limit: int = MAX_NAME) -> str:
    """A name as the text of an HTML element or of a quoted attribute, hidden characters made visible."""
    return html.escape(visible(text, limit), quote=True)


def dot_html(text: str, limit: int = 60) -> str:
    """A name as text inside an HTML-like label of Graphviz."""
    # Graphviz knows no &#x27; in old versions; &#39; is understood by all.
    return html.escape(visible(text, limit), quote=True).replace("&#x27;", "&#39;")


def _visible_characters(text: str) -> Iterator[str]:
    marks = 0
    for character in text:
        shown = _visible_character(character)
        marks = marks + 1 if shown == character and unicodedata.category(character) in _MARKS else 0
        yield shown if marks <= _MAX_MARKS else _escaped(character)


def _visible_character(character: str) -> str:
    named = _NAMED.get(character)
    if named:
        return named
    code = ord(character)
    if unicodedata.category(character) not in _HIDDEN_CATEGORIES and character not in _BLANK and not _is_selector(code):
        return character
    return _escaped(character)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_selector(code: int) -> bool:
    """Variation selectors and other marks that show nothing by themselves."""
    return 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or code in (0x034F, 0x17B4, 0x17B5, 0x180B, 0x180C)
