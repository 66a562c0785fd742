"""A script-free piece of HTML for notebooks: what GitHub, nbviewer and nbconvert show where no widget runs.

It is built from elements that those sanitisers let pass. Every style is inline and none carries meaning alone: without
them the piece still reads from top to bottom. Colours are either inherited or chosen to work on light and on dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peftviz.views.escaping import html_text
from peftviz.views.formatting import format_bytes, format_pair, plural
from peftviz.views.renderers.cells import Line, Lines, adapters_line, counts_line, headline, left_out_line, verdict
from peftviz.views.renderers.outline import Node, Outline, outline
from peftviz.views.viewmodel.subjects import Document, document
from peftviz.views.viewmodel.table import RED, Status, ViewTable

MAX_LINES = 250
MAX_FINDINGS = 50
MAX_TEXT_LINES = 200
_OPEN_LINES = 80
"""A tree of up to this many lines is shown unfolded as a whole."""
_OPEN_DEPTH = 3
_INDENT = 1.25

_RED = "#b3192b"
_PILLS = {
    Status.ADDED: "background:rgba(0,158,115,.22)",
    Status.REMOVED: "background:rgba(230,159,0,.26)",
    Status.WRAPPED: "background:rgba(134,96,196,.24)",
    Status.UNWRAPPED: "background:rgba(134,96,196,.24)",
    Status.MOVED: "background:rgba(134,96,196,.24)",
    Status.REPLACED: "background:rgba(213,94,0,.24)",
    Status.RETIED: "background:rgba(213,94,0,.24)",
    Status.CHANGED: "background:rgba(0,114,178,.22)",
    Status.LEFTOVER: f"background:{_RED};color:#fff;font-weight:700",
    Status.FAULT: f"background:#fff;color:{_RED};font-weight:700;box-shadow:inset 0 0 0 1.5px {_RED}",
}
_BARS = {"base": "#5b6b82", "shared": "#7d7466", "adapter": "#0072b2", "saved": "#8660c4"}
_QUIET = "opacity:.72"
_LINE = "display:flex;align-items:baseline;gap:.8em;padding:1px 6px"
_CODE = "font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace)"


def static_html(obj: Any) -> str:
    """The piece of HTML for any object that peftviz shows; the same object gives the same characters."""
    return page_html(document(obj))


def page_html(page: Document) -> str:
    """The piece of HTML for a document; see `static_html`."""
    return "".join(_page(page))


def _page(page: Document) -> Iterator[str]:
    yield (
        '<div style="font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:13px;line-height:1.5;'
        'max-width:1100px;text-align:left;overflow-x:auto;padding-left:4px">'
    )
    yield from _lines(page.lines)
    if page.table is not None:
        yield from _header(page.table)
        yield from _findings(page.table.findings)
        if len(page.table):
            yield from _tree(page.table, outline(page.table, limit=MAX_LINES))
        yield from _memory(page.table)
    yield "</div>"


def _lines(lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    first, *rest = lines[:MAX_TEXT_LINES]
    yield f'<div style="font-weight:600">{html_text(first, 1_000)}</div>'
    if rest:
        cut = [f"  … {plural(len(lines) - MAX_TEXT_LINES, 'line')} more"] if len(lines) > MAX_TEXT_LINES else []
        body = "\n".join(html_text(line, 1_000) for line in [*rest, *cut])
        yield f'<pre style="margin:2px 0 10px;white-space:pre-wrap;{_CODE}">{body}</pre>'


def _header(table: ViewTable) -> Iterator[str]:
    summary = table.summary
    red = verdict(summary, table.findings)
    yield f'<div><b style="font-size:15px">{html_text(summary["title"])}</b>'
    yield f' <span style="{_QUIET}">{html_text(summary["subtitle"])}</span>'
    if red:
        marked = bool(summary["leftover_rows"])
        style = f"background:{_RED};color:#fff" if marked else "border:1px solid currentColor"
        mark = "◆ " if marked else ""
        yield f' <b style="{style};border-radius:9px;padding:1px 9px;margin-left:8px">{mark}{html_text(red)}</b>'
    yield "</div><div>"
    parts = []
    for name, value, delta in headline(summary):
        change = f" <b>{html_text(delta)}</b>" if delta else ""
        value_and_change = f"{html_text(value)}{change}"
        parts.append(f'<span style="white-space:nowrap"><span style="{_QUIET}">{name}</span> {value_and_change}</span>')
    yield " · ".join(parts)
    yield f'</div><div><span style="{_QUIET}">adapters</span> {html_text(adapters_line(summary), 1_000)}'
    if not summary["single"]:
        yield f' · <span style="{_QUIET}">rows</span> {html_text(counts_line(summary), 400)}'
    yield "</div>"


def _findings(findings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not findings:
        return
    yield '<ul style="list-style:none;margin:8px 0;padding:0">'
    for finding in findings[:MAX_FINDINGS]:
        symbol, edge = _edge(finding)
        more = f" and {plural(finding['rows_total'] - 1, 'more place')}" if finding["rows_total"] > 1 else ""
        path = html_text(finding["path"] or "the model", 300)
        yield f'<li style="{edge};padding:4px 10px;margin:4px 0;list-style:none"><b>{symbol}'
        yield f"{html_text(finding['rule'])} {html_text(finding['severity'])}</b> <code>{path}</code>{more}<br>"
        yield html_text(finding["message"], 1_000)
        if finding["remedy"]:
            fixed = " (repairable)" if finding["repairable"] else ""
            yield f'<br><span style="{_QUIET}">What to do:</span> {html_text(finding["remedy"], 1_000)}{fixed}'
        yield "</li>"
    if len(findings) > MAX_FINDINGS:
        yield f"<li>… {plural(len(findings) - MAX_FINDINGS, 'finding')} more</li>"
    yield "</ul>"


def _edge(finding: Mapping[str, Any]) -> tuple[str, str]:
    if finding["red"]:
        return "◆ ", f"border-left:4px solid {_RED};background:rgba(213,0,50,.10)"
    if finding["severity"] == "warning":
        return "! ", "border-left:4px solid #e69f00;background:rgba(230,159,0,.10)"
    return "", "border-left:4px solid #888"


def _tree(table: ViewTable, tree: Outline) -> Iterator[str]:
    lines = Lines(table)
    yield '<div style="margin:8px 0;border-top:1px solid rgba(128,128,128,.35)">'
    yield from _branch(tree.root, lines, table, 0, tree.lines <= _OPEN_LINES)
    yield "</div>"
    said = left_out_line(tree)
    if said:
        yield f'<div style="{_QUIET};padding:0 6px">{said}</div>'


def _branch(node: Node, lines: Lines, table: ViewTable, depth: int, unfold: bool) -> Iterator[str]:
    line = _line(lines.line(node), depth)
    if not node.children and not node.cut:
        # As much room on the left as the triangle of <details> takes.
        yield f'<div style="padding-left:1em">{line}</div>'
        return
    opened = " open" if unfold or depth < _OPEN_DEPTH or _holds_red(node, table) else ""
    yield f"<details{opened}>"
    yield f'<summary style="cursor:pointer;list-style-position:outside;margin-left:1em">{line}</summary>'
    # A list, so that the tree keeps its shape where all styles are taken away.
    yield f'<ul style="list-style:none;margin:0;padding:0 0 0 {_INDENT}em">'
    for child in node.children:
        yield '<li style="list-style:none;margin:0;padding:0">'
        yield from _branch(child, lines, table, depth + 1, unfold)
        yield "</li>"
    if node.cut:
        yield f'<li style="list-style:none;margin:0 0 0 1em;{_QUIET}">… {plural(node.cut, "line")} more here</li>'
    yield "</ul></details>"


def _holds_red(node: Node, table: ViewTable) -> bool:
    return any(table.status[inner.row] in RED for inner in node.walk())


def _line(line: Line, depth: int) -> str:
    quiet = f"{_QUIET};" if line.status in (Status.SAME, Status.INSIDE) and line.word else ""
    back = f"font-weight:700;box-shadow:inset 3px 0 {_RED};background:rgba(213,0,50,.13);" if line.is_red else ""
    kind = " · ".join(html_text(part) for part in (line.class_name, line.dtype) if part)
    cells = [
        _name(line, quiet, depth),
        _pill(line),
        _cell(kind, "0 4 17em", quiet),
        _cell(html_text(line.shape), "0 2 9em", quiet),
        _cell(html_text(line.trainable), "0 1 6.5em", quiet),
        _cell(html_text(line.memory), "0 0 11em", f"{quiet}text-align:right;font-variant-numeric:tabular-nums;"),
    ]
    remarks = " · ".join(html_text(remark, 400) for remark in line.remarks)
    below = f'<span style="display:block;padding:0 6px;font-size:12px;{_QUIET}"> {remarks}</span>' if remarks else ""
    return f'<span style="{_LINE};{back}">' + " ".join(cells) + f"</span>{below}"


def _name(line: Line, quiet: str, depth: int) -> str:
    name = ".".join(html_text(label) for label in line.labels)
    strike = "text-decoration:line-through;" if line.status is Status.REMOVED else ""
    code = f'<code style="{strike}{quiet}background:none;padding:0;{_CODE}">{name}</code>'
    run = f" <i>{html_text(line.run)}</i>" if line.run else ""
    note = f' <span style="{_QUIET}">{html_text(line.note)}</span>' if line.note else ""
    # The deeper a line, the less room its name may claim: so the other columns stay in line at every width.
    room = max(20 - _INDENT * depth, 8)
    return f'<span style="flex:1 1 0;min-width:{room:g}em;overflow-wrap:anywhere">{code}{run}{note}</span>'


def _pill(line: Line) -> str:
    if not line.word:
        return ""
    style = _PILLS.get(line.status, _QUIET)
    text = f"{line.symbol} {line.word}"
    return (
        f'<span style="flex:0 0 8em;white-space:nowrap"><span style="{style};border-radius:3px;padding:0 6px">'
        f"{html_text(text)}</span></span>"
    )


def _cell(text: str, flex: str, style: str) -> str:
    return (
        f'<span style="flex:{flex};min-width:0;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;{style}">'
        f"{text}</span>"
    )


def _memory(table: ViewTable) -> Iterator[str]:
    if not table.roles:
        return
    single = table.summary["single"]
    yield '<details><summary style="cursor:pointer">Memory by role</summary>'
    for place, name in ((3, "before"), (4, "after")):
        if single and place == 3:
            continue
        total = sum(part[place] for part in table.roles)
        whole = max(sum(part[3] for part in table.roles), sum(part[4] for part in table.roles), 1)
        yield f'<div style="{_QUIET}">{"now" if single else name} {format_bytes(total)}</div>'
        yield '<div style="display:flex;height:20px;margin:0 0 6px">'
        for label, role, _, *sizes, leftover in table.roles:
            size = sizes[place - 3]
            if size:
                colour = _RED if leftover and place == 4 else _BARS[role]
                mark = "◆ " if leftover and place == 4 else ""
                yield (
                    f'<span style="flex:0 0 {size / whole * 100:.3f}%;background:{colour};color:#fff;overflow:hidden;'
                    f'white-space:nowrap;font-size:11px;line-height:20px;box-shadow:inset -1px 0 rgba(255,255,255,.6)">'
                    f"&nbsp;{mark}{html_text(label)} </span>"
                )
        yield "</div>"
    yield "<table><thead><tr><th>Part</th><th>Role</th><th>Memory</th></tr></thead><tbody>"
    for label, role, _, before, after, leftover in table.roles:
        size = format_bytes(after) if single else format_pair(format_bytes(before), format_bytes(after))
        mark = " ◆ LEFTOVER" if leftover else ""
        yield f"<tr><td>{html_text(label)}</td><td>{html_text(role)}{mark}</td><td>{html_text(size)}</td></tr>"
    yield "</tbody></table></details>"
