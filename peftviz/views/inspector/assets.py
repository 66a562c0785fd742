"""The files that make the inspector in a browser: one ES module, and one style sheet of several files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_VIEWS = Path(__file__).parents[1]
BUNDLE = _VIEWS / "static" / "inspector.js"
_STYLES = _VIEWS / "styles"


@cache
def style_sheet() -> str:
    """The style sheet, in the order of the names of its files."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(_STYLES.glob("*.css")))
