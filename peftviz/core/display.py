"""The one place where core reaches for the views: objects show themselves when a notebook asks them to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from peftviz.errors import MissingDependencyError

if TYPE_CHECKING:
    from types import ModuleType

    from peftviz.core.timeline import Timeline

WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"
"""MIME type under which Jupyter finds a widget in a bundle."""


class Displayed:
    """Mixin: a rich display made by `peftviz.views`, imported at the moment it is asked for."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> Any:
        from peftviz.views.mime import mimebundle

        return mimebundle(self, include=include, exclude=exclude)

    def to_text(self, *, width: int = 100) -> str:
        """Plain text for terminals, `width` columns wide (given, never measured)."""
        from peftviz.views.renderers.text import to_text

        return to_text(self, width=width)

    def to_markdown(self) -> str:
        """GitHub-flavoured Markdown for an issue or a pull request, at most 60,000 characters; says what was cut."""
        from peftviz.views.renderers.markdown import to_markdown

        return to_markdown(self)

    def to_html(self, path: str | None = None) -> str:
        """One self-contained HTML page; also written to `path` when one is given.

        Returns:
            The page.
        """
        from peftviz.views.inspector.page import to_html

        return to_html(self, path)


def dataframes() -> ModuleType:
    """The module that makes DataFrames."""
    from peftviz.views.renderers import dataframe

    return dataframe


def graph(subject: Any, path: str) -> Any:
    """The Graphviz picture of a snapshot or a diff."""
    from peftviz.views.renderers.graph import graph as draw

    return draw(subject, path)


def inspector(timeline: Timeline, actions: Mapping[str, Callable[..., Any]]) -> Any:
    """The live widget of a timeline.

    Args:
        timeline: What to show; it may grow, and the widget is told by `refresh()`.
        actions: What the buttons do: `plan(adapter)`, `delete(adapter)`, `repair()`, `capture()`.

    Returns:
        A `peftviz.views.inspector.widget.Inspector`.

    Raises:
        MissingDependencyError: The widget's packages are not installed.
    """
    try:
        from peftviz.views.inspector.widget import Inspector
    except ImportError as error:
        raise MissingDependencyError(
            "The live widget needs anywidget, which is not installed.",
            where=f"import of {error.name}" if error.name else "",
            hint="pip install anywidget; without it, session.to_text() and session.timeline show the same.",
        ) from error
    return Inspector(timeline=timeline, actions=actions)
