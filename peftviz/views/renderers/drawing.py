"""What `dot` has drawn, as plain shapes: numbers, texts and names of colours, so that no markup reaches the browser.

The browser makes elements of them that do nothing but look; why not the SVG itself: `docs/decisions/pictures.md`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peftviz.errors import PeftvizError
from peftviz.views.renderers.graph import PALETTE

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_ROW = re.compile(r"row:(\d{1,9})")
_SHIFT = re.compile(r"translate\((-?[\d.]+)[ ,](-?[\d.]+)\)")
_NUMBERS = re.compile(r"[-\d.eE, ]*")
_PATH = re.compile(r"[MCLZ\-\d.eE, ]*")
_NOTHING = ("none", "transparent")
MAX_SHAPES = 5_000


@dataclass(frozen=True)
class Drawing:
    """A picture as shapes.

    Attributes:
        width, height: Size in points.
        shift: What to add to the coordinates.
        shapes: JSON-able lists: `["polygon", row, fill, stroke, points]`, `["path", row, fill, stroke, dashed, d]` and
            `["text", row, fill, x, y, anchor, size, bold, italic, code, text]`. Colours are names of the palette, `""`
            for none; the row is that of the view table, -1 for none.
    """

    width: float
    height: float
    shift: tuple[float, float]
    shapes: list[list[Any]] = field(default_factory=list)


def read_drawing(svg: str) -> Drawing:
    """Takes from an SVG of `dot` what is known to be harmless; everything else is left behind.

    Args:
        svg: What `dot -Tsvg` wrote of a picture of `peftviz.views.renderers.graph.draw`.

    Raises:
        PeftvizError: It is no picture of that kind.
    """
    try:
        root = ET.fromstring(svg)
        box = [float(number) for number in root.attrib["viewBox"].split()]
        group = root.find(f"{_SVG}g")
        shift = _SHIFT.search(group.attrib["transform"]) if group is not None else None
        if group is None or shift is None or len(box) != 4:
            raise ValueError("no picture inside")
    except (ET.ParseError, KeyError, ValueError) as error:
        raise PeftvizError(
            "The picture that `dot` drew cannot be read.", where="graph", hint="Save it as SVG and open it elsewhere."
        ) from error
    shapes = []
    for shape in _shapes(group, -1):
        shapes.append(shape)
        if len(shapes) > MAX_SHAPES:
            raise PeftvizError(
                f"The picture has more than {MAX_SHAPES:,} shapes.", where="graph", hint="Select a smaller part."
            )
    return Drawing(box[2], box[3], (float(shift.group(1)), float(shift.group(2))), shapes)


def _shapes(parent: ET.Element, row: int) -> Iterator[list[Any]]:
    for element in parent:
        here = row
        link = _ROW.fullmatch(element.attrib.get(_LINK, ""))
        if link:
            here = int(link.group(1))
        kind = element.tag.removeprefix(_SVG) if isinstance(element.tag, str) else ""
        get = element.attrib.get
        if kind in ("g", "a"):
            yield from _shapes(element, here)
        elif kind == "polygon" and _NUMBERS.fullmatch(get("points", "")):
            yield [kind, here, _colour(get("fill")), _colour(get("stroke")), get("points", "")]
        elif kind == "path" and _PATH.fullmatch(get("d", "")):
            dashed = "stroke-dasharray" in element.attrib
            yield [kind, here, _colour(get("fill")), _colour(get("stroke")), dashed, get("d", "")]
        elif kind == "text":
            yield [
                kind, here, _colour(get("fill", "ink")) or "ink", _number(get("x")), _number(get("y")),
                "middle" if get("text-anchor") == "middle" else "end" if get("text-anchor") == "end" else "start",
                _number(get("font-size")), get("font-weight") == "bold", get("font-style") == "italic",
                "mono" in get("font-family", "").lower(), element.text or "",
            ]  # fmt: skip


def _colour(value: str | None) -> str:
    """Name in the palette; a colour that is not in it counts as ink."""
    return "" if value is None or value in _NOTHING else PALETTE.get(value, "ink")


def _number(value: str | None) -> float:
    try:
        return float(value or 0)
    except ValueError:
        return 0.0
