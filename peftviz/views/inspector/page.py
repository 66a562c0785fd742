"""One self-contained page: the widget's own module with the data inside, under a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peftviz.core.timeline import Timeline
from peftviz.errors import PeftvizError
from peftviz.views.escaping import html_text
from peftviz.views.inspector.assets import BUNDLE, style_sheet
from peftviz.views.inspector.language import catalogs
from peftviz.views.inspector.steps import state_table, step_entries
from peftviz.views.inspector.wire import encode
from peftviz.views.renderers.text import to_text
from peftviz.views.viewmodel.subjects import document
from peftviz.views.viewmodel.table import ViewTable

_MOST_ROWS = 2_000_000
"""Rows of all comparisons of a page together. Further ones would make it slow to write and large to send; those of each
state with the one before it and with the first are there whatever they take."""
_ROWS_OF_A_TABLE = 1_000
"""What each comparison weighs beside its rows, in rows."""
_STYLE = (
    "html{color-scheme:light dark}body{margin:12px;font:13px/1.5 system-ui,sans-serif;"
    "background:light-dark(#fff,#111418);color:light-dark(#16181d,#eceff3)}pre{white-space:pre-wrap}"
)


def to_html(obj: Any, path: str | Path | None = None) -> str:
    """Makes one HTML page of any object that peftviz shows; the same object gives the same page.

    The page works from `file://` and offline, and asks nothing of anyone. Without JavaScript it shows plain text.

    Args:
        obj: A snapshot, diff, audit, report, step, timeline or session.
        path: Where to write the page, if anywhere.

    Returns:
        The page.

    Raises:
        PeftvizError: The object is none that peftviz shows, or the file cannot be written.
    """
    title, steps, views, tables = _content(obj)
    data = {"steps": steps, "views": views, "start": 0, "texts": _texts(), "style": style_sheet()}
    page = _page(title, data, tables, to_text(obj))
    if path is not None:
        try:
            Path(path).write_text(page, encoding="utf-8", newline="\n")
        except OSError as error:
            hint = "Give a path in a folder that exists and may be written."
            raise PeftvizError("The page cannot be written.", where=str(path), hint=hint) from error
    return page


def _content(obj: Any) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]], list[ViewTable]]:
    timeline = obj if isinstance(obj, Timeline) else getattr(obj, "timeline", None)
    if isinstance(timeline, Timeline):
        # Times differ from run to run; a page of the same steps is the same page.
        steps = [{**entry, "duration": 0.0} for entry in step_entries(timeline)]
        pairs = _pairs([len(state.modules) + len(state.tensors) for state in timeline.snapshots])
        views = [_view(index, base, steps[index]["label"], ()) for index, base in pairs]
        return document(timeline).title, steps, views, [state_table(timeline, *pair) for pair in pairs]
    shown = document(obj)
    tables = [] if shown.table is None else [shown.table]
    return shown.title, [], [_view(0, 0, shown.title, shown.lines[1:]) for _ in tables], tables


def _pairs(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Which states the page compares: each with the one before it and with the first, then what else there is room for.

    Args:
        rows: Number of rows of each state.

    Returns:
        State and the one it is compared with; the last state after its step comes first. Neighbours come before states
        far apart, comparisons forwards before those backwards, and states alone last.
    """
    count = len(rows)
    pairs = [(index, max(0, index - 1)) for index in reversed(range(count))]
    pairs += [(index, 0) for index in range(2, count)]
    room = _MOST_ROWS - sum(max(rows[index], rows[base]) for index, base in pairs)
    known = set(pairs)
    forwards = [(base + apart, base) for apart in range(2, count) for base in range(count - apart)]
    backwards = [(base, base + apart) for apart in range(1, count) for base in range(count - apart)]
    for pair in (*forwards, *backwards, *((index, index) for index in range(count))):
        if pair in known:
            continue
        room -= max(rows[pair[0]], rows[pair[1]]) + _ROWS_OF_A_TABLE
        if room < 0:
            break
        pairs.append(pair)
    return pairs


def _view(index: int, base: int, title: str, lines: tuple[str, ...]) -> dict[str, Any]:
    return {"index": index, "base": base, "title": title, "lines": list(lines)}


def _texts() -> dict[str, Any]:
    """The texts but for those of plans: a page makes none."""
    return {
        language: {name: text for name, text in catalog.items() if not name.startswith("plan.")}
        for language, catalog in catalogs().items()
    }


def _page(title: str, data: dict[str, Any], tables: list[ViewTable], text: str) -> str:
    # ASCII only, and `<` escaped: no name can end the element that it stands in.
    content = json.dumps(data, ensure_ascii=True, sort_keys=True, separators=(",", ":")).replace("<", "\\u003c")
    script = BUNDLE.read_text(encoding="utf-8") if tables else ""
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(_STYLE)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    body = f"<pre>{html.escape(text)}</pre>"
    parts = [
        "<!doctype html>",
        '<html lang="en" data-peftviz="page">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html_text(title)} · peftviz</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f'<main id="peftviz-page">{body}</main>',
        f'<script type="application/json" id="peftviz-steps">{content}</script>',
    ]
    for number, table in enumerate(tables):
        packed = base64.b64encode(encode(table)).decode("ascii")
        parts.append(f'<script type="text/plain" id="peftviz-table-{number}">{packed}</script>')
    if tables:
        parts.append(f'<script type="module">{script}</script>')
    return "\n".join([*parts, "</body>", "</html>", ""])


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
