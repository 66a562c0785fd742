"""Plain text for terminals and for `text/plain`: the same object and width give the same characters everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peftviz.views.escaping import visible
from peftviz.views.formatting import plural
from peftviz.views.renderers.cells import (
    COLUMNS,
    Line,
    Lines,
    adapters_line,
    counts_line,
    headline,
    left_out_line,
    verdict,
)
from peftviz.views.renderers.outline import Node, Outline, outline
from peftviz.views.viewmodel.subjects import Document, document
from peftviz.views.viewmodel.table import Status, ViewTable

MAX_LINES = 120
_TIED = "\u00a0"
_GIVE_WAY = (
    ("Dtype", 0), ("Class", 10), ("Module", 44), ("Class", 0), ("Module", 28), ("Shape", 0), ("Trainable", 0),
    ("Module", 12),
)  # fmt: skip
"""Which columns become narrower when there is no room, to what width, in this order; 0 drops a column."""


def to_text(obj: Any, *, width: int = 100) -> str:
    """Draws an object of peftviz as text.

    Args:
        obj: A snapshot, diff, audit, plan, report, step, timeline or session.
        width: Columns at most, at least 60; given, never measured.
    """
    return page_text(document(obj), width=width)


def page_text(page: Document, *, width: int = 100) -> str:
    """Draws a document as text; see `to_text`."""
    return "\n".join(line.rstrip() for line in _document_lines(page, max(width, 60)))


def _document_lines(page: Document, width: int) -> Iterator[str]:
    for part in page.lines:
        indent = " " * (len(part) - len(part.lstrip(" ")) + 4)
        yield from _wrapped(visible(part, 10_000), width, indent)
    if page.table is not None:
        if page.lines:
            yield ""
        yield from _table_lines(page.table, width)


def _table_lines(table: ViewTable, width: int) -> Iterator[str]:
    summary = table.summary
    title = f"{visible(summary['title'])} · {visible(summary['subtitle'])}"
    red = verdict(summary, table.findings)
    yield from _wrapped(f"{title} · ◆ {red}" if red else title, width, "  ")
    totals = [f"{name} {value}" + (f" ({delta})" if delta else "") for name, value, delta in headline(summary)]
    tied = " · ".join(total.replace(" ", _TIED) for total in totals)
    yield from (line.replace(_TIED, " ") for line in _wrapped(tied, width, "  "))
    yield from _wrapped("adapters " + visible(adapters_line(summary), 1_000), width, "  ")
    if not summary["single"]:
        yield from _wrapped("rows " + counts_line(summary), width, "  ")
    if len(table):
        yield ""
        tree = outline(table, limit=MAX_LINES)
        yield from (line for _, line in tree_lines(table, tree, width))
        said = left_out_line(tree)
        if said:
            yield from _wrapped(said, width, "  ")
    if table.findings:
        yield ""
        yield from _findings(table.findings, width)


def tree_lines(table: ViewTable, tree: Outline, width: int) -> Iterator[tuple[Status | None, str]]:
    """The tree as lines with their status: the head of the columns and remarks below a line have none.

    Args:
        table: The table.
        tree: Which of its rows are shown.
        width: Columns at most.
    """
    lines = Lines(table)
    rows = [(guide, node, lines.line(node)) for guide, node in _guided(tree.root, "", "")]
    names = [guide + _name(line) for guide, _, line in rows]
    cells = [[name, *_cells(line)] for name, (_, _, line) in zip(names, rows, strict=True)]
    widths = _widths(cells, width)
    kept = list(widths)
    yield None, "  ".join(_fitted(COLUMNS[place], widths[place], place) for place in kept)
    for cell, (guide, node, line) in zip(cells, rows, strict=True):
        yield line.status, "  ".join(_fitted(cell[place], widths[place], place) for place in kept)
        indent = _below(guide, node)
        for remark in line.remarks:
            for part in _wrapped(f"{indent}  {visible(remark, 400)}", width, f"{indent}    "):
                yield None, part
        if node.cut:
            yield None, f"{indent}  … {plural(node.cut, 'line')} more here"


def _guided(node: Node, guide: str, below: str) -> Iterator[tuple[str, Node]]:
    yield guide, node
    for position, child in enumerate(node.children):
        last = position == len(node.children) - 1
        yield from _guided(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))


def _below(guide: str, node: Node) -> str:
    indent = guide.replace("├─ ", "│  ").replace("└─ ", "   ")
    return indent + ("│" if node.children else " ")


def _name(line: Line) -> str:
    name = ".".join(visible(label) for label in line.labels)
    if line.run:
        name += f": {line.run}"
    return f"{name} ({visible(line.note)})" if line.note else name


def _cells(line: Line) -> list[str]:
    word = f"{line.symbol} {line.word}" if line.word else ""
    return [word, visible(line.class_name), visible(line.dtype), visible(line.shape), line.trainable, line.memory]


def _widths(cells: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Columns that fit, and how wide they are: what is used, as far as there is room; then dtype and class give way."""
    used = {place: max(len(cell[place]) for cell in cells) for place in range(len(COLUMNS))}
    widths = {place: max(size, len(COLUMNS[place])) for place, size in used.items() if size or place == 0}
    for column, least in _GIVE_WAY:
        place = COLUMNS.index(column)
        excess = sum(widths.values()) + 2 * (len(widths) - 1) - width
        if excess <= 0 or place not in widths:
            continue
        if least and widths[place] > least:
            widths[place] = max(least, widths[place] - excess)
        elif not least:
            del widths[place]
    return widths


def _fitted(text: str, width: int, place: int) -> str:
    if len(text) > width:
        head = width // 2
        text = f"{text[:head]}…{text[len(text) - (width - head - 1) :]}" if width > 1 else text[:width]
    return text.rjust(width) if COLUMNS[place] == "Memory" else text.ljust(width)


def _findings(findings: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    yield plural(len(findings), "finding") + ":"
    for finding in findings[:MAX_LINES]:
        symbol = "◆" if finding["red"] else "!" if finding["severity"] == "warning" else "·"
        path = visible(finding["path"] or "the model", 300)
        more = f" and {plural(finding['rows_total'] - 1, 'more place')}" if finding["rows_total"] > 1 else ""
        yield from _wrapped(f"{symbol} {visible(finding['rule'])} {finding['severity']} at {path}{more}", width, "    ")
        yield from _wrapped(f"    {visible(finding['message'], 1_000)}", width, "    ")
        if finding["remedy"]:
            fixed = " (repairable)" if finding["repairable"] else ""
            yield from _wrapped(f"    What to do: {visible(finding['remedy'], 1_000)}{fixed}", width, "    ")
    if len(findings) > MAX_LINES:
        yield f"  … {plural(len(findings) - MAX_LINES, 'finding')} more"


def _wrapped(text: str, width: int, indent: str) -> Iterator[str]:
    """Breaks at spaces where it can; a word longer than a line is broken where the line ends."""
    lead = text[: len(text) - len(text.lstrip(" "))]
    line, words = lead, text[len(lead) :].split(" ")
    fresh = True
    for word in words:
        candidate = line + word if fresh else f"{line} {word}"
        if len(candidate) <= width:
            line, fresh = candidate, False
            continue
        if not fresh:
            yield line
            line = indent
        word_left = word
        while len(line) + len(word_left) > width:
            yield line + word_left[: width - len(line)]
            word_left = word_left[width - len(line) :]
            line = indent
        line, fresh = line + word_left, False
    yield line
