"""Markdown for issues and pull requests: a heading, the totals, what is left over, and the tree as a fenced diff.

Untrusted text stands in code, where neither markup nor mentions, links or references to issues mean anything: names in
code spans, trees and plans in fenced blocks. Prose that may hold names keeps its plain words; every other word of it is
put into a code span.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peftviz.views.escaping import visible
from peftviz.views.formatting import plural
from peftviz.views.renderers.cells import adapters_line, counts_line, headline, left_out_line, verdict
from peftviz.views.renderers.outline import outline
from peftviz.views.renderers.text import tree_lines
from peftviz.views.viewmodel.subjects import Document, document
from peftviz.views.viewmodel.table import Status, ViewTable

MAX_CHARACTERS = 60_000
"""GitHub takes 65,536 characters for one comment."""
_CAPS = ((120, 40), (60, 20), (30, 10), (12, 4), (6, 1))
"""Lines of the tree and findings, from the most that is shown down to what surely has room."""
_FOLDED_FROM = 40
"""A tree of more lines starts folded up."""
_WIDTH = 110
_MARKS = {Status.SAME: " ", Status.INSIDE: " ", Status.ADDED: "+", Status.REMOVED: "-"}
"""First character of a line in a fenced diff, which gives it its colour; `!` for every other change."""

_PLAIN_WORD = re.compile(
    r"""[("'“‘]*(?:[^\W\d_]+(?:['’-][^\W\d_]+)*|\d[\d,.]*\d|\d|[→−+·◆✓✗–…])[)"'”’]*[.,;:!?]*[)"'”’]*"""
)
_COMMIT = re.compile(r"[0-9a-fA-F]{7,}")


def to_markdown(obj: Any) -> str:
    """Draws an object of peftviz as GitHub-flavoured Markdown, short enough for one comment.

    Args:
        obj: A snapshot, diff, audit, plan, report, step, timeline or session.

    Raises:
        PeftvizError: The object is none that peftviz shows.
    """
    page = document(obj)
    for lines, findings in _CAPS:
        text = "\n".join(_page(page, lines, findings)).rstrip() + "\n"
        if len(text) <= MAX_CHARACTERS:
            break
    return text


def code(text: str, limit: int = 300) -> str:
    """A name as a code span, hidden characters made visible."""
    shown = visible(text, limit)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if not shown or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def prose(text: str, limit: int = 1_000) -> str:
    """A sentence that may hold untrusted names: plain words stay, everything else goes into code spans."""
    parts: list[str] = []
    odd: list[str] = []
    for word in visible(text, limit).split(" "):
        if _PLAIN_WORD.fullmatch(word) and not _COMMIT.search(word):
            if odd:
                parts.append(_code_of_words(odd))
                odd = []
            parts.append(word)
        elif word:
            odd.append(word)
    if odd:
        parts.append(_code_of_words(odd))
    return " ".join(parts)


def _code_of_words(words: Sequence[str]) -> str:
    # The words are visible already, and `visible` would double their backslashes.
    text = " ".join(words)
    end = re.search(r"[.,;:!?]*$", text)
    closing = end.group() if end and len(end.group()) < len(text) else ""
    text = text.removesuffix(closing)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{ticks}{pad}{text}{pad}{ticks}{closing}"


def _page(page: Document, lines: int, findings: int) -> Iterator[str]:
    if page.table is None:
        yield f"### {prose(page.title)}"
        yield ""
        yield from _fenced("text", page.lines[1:], 4 * lines)
        return
    summary = page.table.summary
    yield f"### {prose(page.title)}"
    yield ""
    if len(page.lines) > 1:
        yield from _fenced("text", page.lines[1:], lines)
    red = verdict(summary, page.table.findings)
    state = f"{code(summary['title'])} · {prose(summary['subtitle'])}"
    yield state + (f" · **◆ {red}**" if red else "")
    yield ""
    yield from _totals(summary)
    yield f"Adapters: {prose(adapters_line(summary))}  "
    if not summary["single"]:
        yield f"Rows: {counts_line(summary)}"
    yield ""
    yield from _findings(page.table.findings, findings)
    if len(page.table):
        yield from _tree(page.table, lines)


def _totals(summary: Mapping[str, Any]) -> Iterator[str]:
    single = summary["single"]
    yield "| | now |" if single else "| | before → after | change |"
    yield "|---|---:|" if single else "|---|---:|---:|"
    for name, value, delta in headline(summary):
        yield f"| {name} | {value} |" if single else f"| {name} | {value} | {delta or '–'} |"
    yield ""


def _findings(findings: Sequence[Mapping[str, Any]], limit: int) -> Iterator[str]:
    if not findings:
        return
    yield f"**{plural(len(findings), 'finding')}**"
    yield ""
    for finding in findings[:limit]:
        mark = "◆ " if finding["red"] else ""
        more = f" and {plural(finding['rows_total'] - 1, 'more place')}" if finding["rows_total"] > 1 else ""
        path = code(finding["path"]) if finding["path"] else "the model"
        head = f"**{mark}{prose(finding['rule'])} {prose(finding['severity'])}** at {path}{more}"
        yield f"- {head}: {prose(finding['message'])}"
        if finding["remedy"]:
            fixed = " (repairable)" if finding["repairable"] else ""
            yield f"  - What to do: {prose(finding['remedy'])}{fixed}"
    if len(findings) > limit:
        yield f"- … {plural(len(findings) - limit, 'finding')} more"
    yield ""


def _tree(table: ViewTable, limit: int) -> Iterator[str]:
    tree = outline(table, limit=limit)
    single = bool(table.summary["single"])
    drawn = [
        ("# " if status is None else f"{_MARKS.get(status, '!')} ") + line if not single else line
        for status, line in tree_lines(table, tree, _WIDTH)
    ]
    yield "<details open>" if tree.lines <= _FOLDED_FROM else "<details>"
    yield f"<summary>{plural(tree.lines, 'line')} of the tree</summary>"
    yield ""
    yield from _fenced("text" if single else "diff", drawn, len(drawn), safe=True)
    said = left_out_line(tree)
    if said:
        yield said
        yield ""
    yield "</details>"


def _fenced(kind: str, lines: Sequence[str], limit: int, *, safe: bool = False) -> Iterator[str]:
    """A fenced block, its fence longer than any run of backticks inside.

    Args:
        kind: Language of the block.
        lines: Its lines.
        limit: So many of them are shown; what is left out is counted.
        safe: Whether hidden characters in the lines were made visible before.
    """
    shown = [line if safe else visible(line, 400) for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"… {plural(len(lines) - limit, 'line')} more")
    ticks = "`" * max(3, 1 + max((len(run) for line in shown for run in re.findall("`+", line)), default=0))
    yield f"{ticks}{kind}"
    yield from (line.rstrip() for line in shown)
    yield ticks
    yield ""
