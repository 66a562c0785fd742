"""The corpus of hostile names in a real browser: nothing runs, nothing breaks the layout, nothing stays hidden."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import peftviz
from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.views.inspector.page import to_html
from peftviz.views.mime import mimebundle
from peftviz.views.viewmodel.table import view_table
from tests.ui.leftover import inspector
from tests.views.hostile import HIDDEN, NAMES, everything, hostile, timeline

pytestmark = pytest.mark.ui

TEXTS = """(root) => {
  const parts = [];
  const walk = (node) => {
    if (node.nodeType === Node.TEXT_NODE) parts.push(node.data);
    if (node.nodeType === Node.ELEMENT_NODE) {
      if (['STYLE', 'SCRIPT'].includes(node.tagName)) return;
      for (const { name, value } of node.attributes) {
        if (!['style', 'class', 'd', 'points'].includes(name)) parts.push(value);
      }
      if (node.shadowRoot) walk(node.shadowRoot);
    }
    node.childNodes.forEach(walk);
  };
  walk(root);
  return parts.join('\\u0001');
}"""
"""All text and all attributes below an element, shadow roots included."""
BROKEN = """(root) => {
  const wrong = [];
  const said = (part) => `${part.tagName}.${part.className} “${part.textContent.slice(0, 40)}”`;
  const page = document.scrollingElement;
  if (page.scrollWidth > page.clientWidth) wrong.push(`the page is too wide: ${page.scrollWidth}`);
  const own = root.getBoundingClientRect();
  for (const part of root.querySelectorAll('.header, .timeline, .main, .details, .footer, .tools, .panel, .notice')) {
    const box = part.getBoundingClientRect();
    if (box.width && (box.right > own.right + 1 || box.left < own.left - 1)) wrong.push(`${said(part)} sticks out`);
  }
  for (const part of root.querySelectorAll('.details, .header, .notice, .footer')) {
    if (part.scrollWidth <= part.clientWidth + 1) continue;
    const edge = part.getBoundingClientRect().right;
    const wide = [...part.querySelectorAll('*')].filter((inner) => inner.getBoundingClientRect().right > edge + 1);
    wrong.push(`${part.className} scrolls sideways: ${wide.slice(-2).map(said)}`);
  }
  for (const part of root.querySelectorAll('.details dd, .details li, .details p')) {
    const { width, height } = part.getBoundingClientRect();
    if (height && part.textContent.trim() && width < 60) wrong.push(`${said(part)} has ${width} px`);
  }
  for (const part of root.querySelectorAll('.layer .row:not([hidden]), .layer .row:not([hidden]) .cell')) {
    const { height } = part.getBoundingClientRect();
    if (part.role === 'row' ? height !== 26 : height > 27) wrong.push(`${said(part)} is ${height} px high`);
  }
  return wrong;
}"""
"""What is wrong with the layout of an inspector."""
ELEMENTS = "script:not([type]), img, iframe, object, embed, form, [onerror], [onload], [onmouseover]"


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1500, "height": 900}, color_scheme="light")
    yield context
    context.close()


class Watched:
    """A page of which everything that should not happen is noted."""

    def __init__(self, context: Any) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(15_000)
        self.seen: list[str] = []
        self.requests: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.seen.append(f"error {error}"))
        self.page.on("console", lambda message: self.seen.append(f"console {message.text}"))
        self.page.on("dialog", lambda dialog: (self.seen.append(f"dialog {dialog.message}"), dialog.dismiss()))

    def open(self, path: Path) -> Any:
        self.requests.clear()
        self.page.goto(path.as_uri())
        return self.page

    def check(self, path: Path) -> None:
        assert self.seen == []
        assert "owned" not in self.page.title() or "<script>" in self.page.title()
        assert self.requests == [path.as_uri()]


@pytest.fixture
def watched(context: Any) -> Iterator[Watched]:
    watched = Watched(context)
    yield watched
    watched.page.close()


def look_everywhere(root: Any, page: Any) -> None:
    """Opens all tabs, all rows and some details, and checks each time."""
    for tab in ("Structure", "Parameters", "Memory", "Memory map", "Graph", "Findings"):
        root.get_by_role("tab", name=re.compile(rf"^{tab}( \d+)?$")).click()
        if tab == "Structure":
            page.keyboard.press("Tab")
            rows = root.get_by_role("treegrid").get_by_role("row")
            rows.nth(1).click()
            page.keyboard.press("*")
            for place in range(1, min(rows.count(), 12)):
                rows.nth(place).click()
                assert root.evaluate(BROKEN) == []
        if tab == "Memory map":
            root.get_by_role("button", name="By role").click()
            root.get_by_role("tree").focus()
            for key in ("ArrowDown", "ArrowDown", "Enter", "ArrowRight"):
                page.keyboard.press(key)
        assert root.evaluate(BROKEN) == [], tab
        assert root.locator(ELEMENTS).count() == 0
        texts = root.evaluate(TEXTS)
        assert not set(HIDDEN) & set(texts), tab


@pytest.mark.parametrize("width", [1500, 560])
def test_every_name_at_once(watched: Watched, tmp_path: Path, width: int) -> None:
    path = tmp_path / "page.html"
    to_html(diff(*everything()), path)
    watched.page.set_viewport_size({"width": width, "height": 900})
    page = watched.open(path)
    root = page.get_by_role("region", name="peftviz inspector")
    root.wait_for()
    look_everywhere(root, page)
    watched.check(path)


def test_each_name_in_labels_configs_warnings_and_errors(watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    for what, name in NAMES.items():
        to_html(timeline(name), path)
        page = watched.open(path)
        root = page.get_by_role("region", name="peftviz inspector")
        root.wait_for()
        root.get_by_role("tab", name=re.compile("^Findings")).click()
        assert root.evaluate(BROKEN) == [], what
        root.get_by_role("tab", name="Structure").click()
        root.get_by_role("treegrid").locator("[role=row][tabindex='0']").focus()
        for key in ("Home", "ArrowDown", "End", "ArrowUp"):
            page.keyboard.press(key)
            page.keyboard.press("Enter")
            assert root.evaluate(BROKEN) == [], what
        steps = root.get_by_role("navigation", name="Operations").get_by_role("button")
        steps.nth(1).click()
        assert root.evaluate(BROKEN) == [], what
        assert root.locator(ELEMENTS).count() == 0, what
        assert not set(HIDDEN) & set(root.evaluate(TEXTS)), what
        watched.check(path)


def test_each_name_in_sentences_of_another_language(watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    told = 0
    peftviz.set_language("zh")
    try:
        for what, name in NAMES.items():
            first, _, third = hostile(name)
            to_html(audit_snapshot(third, baseline=first), path)
            page = watched.open(path)
            root = page.locator(".peftviz")
            root.get_by_role("tab").last.click()
            findings = root.locator(".finding")
            assert findings.count() > 0, what
            told += "适配器" in findings.first.locator(".message").inner_text()
            findings.first.click()
            for _ in range(2):
                assert root.evaluate(BROKEN) == [], what
                assert root.locator(ELEMENTS).count() == 0, what
                assert not set(HIDDEN) & set(root.evaluate(TEXTS)), what
                root.get_by_role("tab").last.click()
            watched.check(path)
    finally:
        peftviz.set_language(None)
    assert told > len(NAMES) / 2, "but for names that are too long to be looked at"


def test_the_static_piece_of_a_notebook(watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    for what, name in NAMES.items():
        first, second, third = hostile(name)
        pieces = [
            mimebundle(subject, include={"text/html"})["text/html"]
            for subject in (first, diff(first, second), audit_snapshot(third, baseline=first), timeline(name))
        ]
        path.write_text(f"<!doctype html><meta charset=utf-8><title>t</title>{''.join(pieces)}", encoding="utf-8")
        page = watched.open(path)
        assert page.title() == "t", what
        assert page.locator(ELEMENTS).count() == 0, what
        assert page.evaluate("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth"), what
        assert not set(HIDDEN) & set(page.locator("body").evaluate(TEXTS)), what
        watched.check(path)


def test_the_csv_of_a_page_holds_no_formula(watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    change = diff(*everything())
    to_html(change, path)
    page = watched.open(path)
    root = page.get_by_role("region", name="peftviz inspector")
    root.get_by_role("button", name="Export ▾").click()
    assert root.get_by_role("button", name=re.compile("^Save|^Copy as")).all_inner_texts() == ["Save table as CSV"]
    with page.expect_download() as started:
        root.get_by_role("button", name="Save table as CSV").click()
    text = started.value.path().read_text(encoding="utf-8-sig")
    assert not set(HIDDEN) & set(text)
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert len(rows) == len(view_table(change))
    assert {len(row) for row in rows} == {len(head)}
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+-@|%\t\r")]
    assert any(cell.startswith("'=HYPERLINK") for row in rows for cell in row)
    watched.check(path)


CELLS = """
import torch, peftviz, json
from peft import LoraConfig, get_peft_model
names = [name for name in json.loads(NAMES) if "." not in name]
base = torch.nn.Sequential()
for name in names:
    base.add_module(name, torch.nn.Linear(4, 4))
session = peftviz.watch(base)
"""
ACT = """
import warnings
model = get_peft_model(base, LoraConfig(r=2, target_modules=names[:3]), adapter_name=names[0])
for name in names[1:]:
    model.add_adapter(name, LoraConfig(r=2, target_modules=names[:2]))
try:
    with session.step(names[0]):
        warnings.warn(names[1])
        raise RuntimeError(names[2])
except RuntimeError:
    pass
del name
"""


def test_the_live_widget(open_notebook: Callable[..., Any]) -> None:
    import json

    short = [name for name in NAMES.values() if len(name) < 2_000]
    notebook = open_notebook("hostile", [f"NAMES = {json.dumps(short)!r}\n{CELLS}", ACT])
    notebook.run_all()
    page = notebook.page
    root = inspector(page)
    root.get_by_role("navigation", name="Operations").get_by_text("RuntimeError").first.wait_for(timeout=90_000)
    look_everywhere(root, page)
    root.get_by_role("tab", name="Graph").click()
    root.get_by_role("group", name="Graph").get_by_role("button").first.wait_for()
    assert not set(HIDDEN) & set(root.evaluate(TEXTS))
    root.get_by_role("button", name="Adapters ▾").click()
    assert root.evaluate(BROKEN) == []
    root.get_by_role("button", name=re.compile("^Make “<img src=x onerror.*” active")).click()
    dialog = root.get_by_role("dialog")
    dialog.get_by_role("button", name="Make it active").click()
    root.get_by_role("heading", name="✓ Done").wait_for()
    assert root.evaluate(BROKEN) == []
    assert root.locator(ELEMENTS).count() == 0
    assert "owned" not in page.title()
    assert notebook.our_errors() == []
    assert notebook.outside_requests() == []
