"""What a notebook is handed."""

from __future__ import annotations

import subprocess
import sys

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.views.mime import WIDGET, mimebundle
from peftviz.views.static_html import static_html
from peftviz.views.text import to_text
from tests.views.story import story
from tests.views.test_text import plan, timeline


def test_outside_a_kernel_there_is_html_and_text_and_both_repeat() -> None:
    first, adapters, left = story()
    for obj in (first, diff(adapters, left), audit_snapshot(left), plan(), timeline().steps[0]):
        bundle = mimebundle(obj)
        assert bundle == {"text/plain": to_text(obj), "text/html": static_html(obj)}
        assert mimebundle(obj) == bundle


def test_objects_show_themselves() -> None:
    first, _, left = story()
    assert set(first._repr_mimebundle_()) == {"text/plain", "text/html"}
    assert "LEFTOVER" in audit_snapshot(left)._repr_mimebundle_()["text/html"]


def test_include_and_exclude_are_heeded() -> None:
    first, _, _ = story()
    assert set(mimebundle(first, include={"text/plain"})) == {"text/plain"}
    assert set(mimebundle(first, exclude={"text/plain", WIDGET})) == {"text/html"}


def test_the_static_pieces_need_no_widget_library() -> None:
    program = """
import sys
for name in ("anywidget", "ipywidgets", "traitlets", "IPython", "pandas", "graphviz", "torch", "peft"):
    sys.modules[name] = None
from tests.views.story import story
from peftviz.core.diff import diff
from peftviz.views.mime import mimebundle
_, adapters, left = story()
assert set(mimebundle(diff(adapters, left))) == {"text/plain", "text/html"}
"""
    subprocess.run([sys.executable, "-c", program], check=True)
