"""What a notebook is handed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.views.mime import WIDGET, mimebundle
from peftviz.views.renderers.static_html import static_html
from peftviz.views.renderers.text import to_text
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


def test_a_running_kernel_is_handed_the_widget_too() -> None:
    pytest.importorskip("anywidget")
    program = """
import json
import IPython
from ipykernel.kernelapp import IPKernelApp
from tests.views.story import story
from tests.views.test_text import Report, plan, timeline
from peftviz.core.diff import diff
from peftviz.core.audit import audit_snapshot
from peftviz.views.mime import WIDGET, mimebundle

app = IPKernelApp.instance()
app.initialize([])
assert IPython.get_ipython().kernel is not None
_, adapters, left = story()
for shown in (left, diff(adapters, left), audit_snapshot(left), Report(), timeline(), timeline()[1]):
    assert set(mimebundle(shown)) == {"text/plain", "text/html", WIDGET}, shown
    assert mimebundle(shown)[WIDGET]["model_id"]
assert WIDGET not in mimebundle(plan())
assert WIDGET not in mimebundle(left, exclude={WIDGET})
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


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
