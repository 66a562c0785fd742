"""What a notebook shows of an object: the widget where one can live, static HTML, and plain text."""

from __future__ import annotations

import sys
from collections.abc import Container
from typing import Any

from peftviz.views.renderers.static_html import page_html
from peftviz.views.renderers.text import page_text
from peftviz.views.viewmodel.subjects import document

WIDGET = "application/vnd.jupyter.widget-view+json"


def mimebundle(
    obj: Any, *, include: Container[str] | None = None, exclude: Container[str] | None = None
) -> dict[str, Any]:
    """The representations of an object by MIME type.

    `text/html` and `text/plain` are there always and are the same each time; the widget is added in a running
    Jupyter kernel, and made only when it is asked for.

    Args:
        obj: Any object that peftviz shows.
        include: Only these types; None for all.
        exclude: Not these types.
    """

    def wanted(kind: str) -> bool:
        return (not include or kind in include) and (not exclude or kind not in exclude)

    page = document(obj)
    # First, though it comes last in the bundle: the browser opens it while the texts are made.
    view = _widget_view(obj) if wanted(WIDGET) and _in_kernel() else None
    bundle: dict[str, Any] = {}
    if wanted("text/plain"):
        bundle["text/plain"] = page_text(page)
    if wanted("text/html"):
        bundle["text/html"] = page_html(page)
    if view is not None:
        bundle[WIDGET] = view
    return bundle


def _in_kernel() -> bool:
    """Whether this process is a Jupyter kernel; IPython in a terminal has no widgets."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def _widget_view(obj: Any) -> Any:
    try:
        from peftviz.views.inspector.widget import Inspector
    except ImportError:  # no widget library: the static pieces say the same
        return None
    return Inspector(obj)._repr_mimebundle_(include={WIDGET}).get(WIDGET)
