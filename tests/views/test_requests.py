"""What the widget asks the kernel for: plans that are carried out once, pictures and files."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from peftviz.core.diff import diff
from peftviz.core.timeline import Step, Timeline
from peftviz.errors import PeftvizError
from peftviz.views.inspector.plans import Plans
from tests.views.hostile import NAMES
from tests.views.hostile import timeline as hostile_timeline
from tests.views.story import story

pytest.importorskip("anywidget")
from peftviz.views.inspector.widget import Inspector

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="the dot program is not installed")


class Session:
    """Counts what is done, and grows a timeline by a step when something is."""

    def __init__(self) -> None:
        first, second, third = story(2)
        self.timeline = Timeline(first, [Step("get_peft_model('default')", "get_peft_model", first, second)])
        self.next = third
        self.done: list[Any] = []

    def do(self, *what: Any) -> str:
        self.done.append(what)
        self.timeline.append(Step(str(what), "x", self.timeline.current, self.next))
        return f"did {what}"

    def actions(self) -> dict[str, Any]:
        def plan(operation: str, names: Any) -> str:
            if names == ["nobody"]:
                raise PeftvizError("There is no adapter 'nobody'.", where="here", hint="Known: 'math'.")
            return f"{operation} {names}"

        return {
            "plan": lambda adapter: f"delete {adapter}",
            "delete": lambda adapter: self.do("delete", adapter),
            "repair": lambda: self.do("repair"),
            "capture": lambda: None,
            "plan_operation": plan,
            "merge_adapter": lambda names: self.do("merge_adapter", names),
            "set_adapter": lambda names: self.do("set_adapter", names),
        }


class Browser:
    """Sends requests to an inspector and takes its answers, as the browser does."""

    def __init__(self, inspector: Inspector, monkeypatch: pytest.MonkeyPatch) -> None:
        self._inspector = inspector
        self._sent: list[tuple[dict[str, Any], Any]] = []
        monkeypatch.setattr(inspector, "send", lambda content, buffers=None: self._sent.append((content, buffers)))

    def ask(self, **request: Any) -> dict[str, Any]:
        return self.ask_for_bytes(**request)[0]

    def ask_for_bytes(self, **request: Any) -> tuple[dict[str, Any], Any]:
        self._inspector._receive(None, {"id": "7", **request}, [])
        content, buffers = self._sent.pop()
        assert not self._sent
        assert content.pop("id") == "7"
        return content, buffers


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def browser(session: Session, monkeypatch: pytest.MonkeyPatch) -> Browser:
    return Browser(Inspector(timeline=session.timeline, actions=session.actions()), monkeypatch)


@pytest.mark.parametrize(
    ("request_", "done"),
    [
        ({"do": "delete", "adapter": "math"}, ("delete", "math")),
        ({"do": "repair"}, ("repair",)),
        ({"do": "merge_adapter", "adapters": ["math"]}, ("merge_adapter", ["math"])),
        ({"do": "merge_adapter"}, ("merge_adapter", None)),
        ({"do": "set_adapter", "adapters": ["math"]}, ("set_adapter", ["math"])),
    ],
)
def test_a_plan_is_carried_out_once(browser: Browser, session: Session, request_: dict[str, Any], done: Any) -> None:
    plan = browser.ask(ask="plan", **request_)
    assert plan["lines"]
    assert session.done == []
    report = browser.ask(ask="apply", token=plan["token"])
    assert report["lines"][0].startswith("did")
    again = browser.ask(ask="apply", token=plan["token"])
    assert again["error"]["what"].startswith("This plan was carried out already")
    assert again["error"]["hint"]
    assert session.done == [done]


def test_a_later_plan_replaces_an_earlier_one(browser: Browser, session: Session) -> None:
    first = browser.ask(ask="plan", do="repair")
    second = browser.ask(ask="plan", do="merge_adapter", adapters=["math"])
    assert "error" in browser.ask(ask="apply", token=first["token"])
    assert "error" in browser.ask(ask="apply", token=second["token"]), "what was asked for wrongly ends the plan"
    assert session.done == []


def test_a_plan_that_fails_leaves_none_behind(browser: Browser, session: Session) -> None:
    first = browser.ask(ask="plan", do="repair")
    failed = browser.ask(ask="plan", do="merge_adapter", adapters=["nobody"])
    assert failed["error"] == {"what": "There is no adapter 'nobody'.", "where": "here", "hint": "Known: 'math'."}
    assert "error" in browser.ask(ask="apply", token=first["token"])
    assert session.done == []


def test_a_plan_for_an_earlier_state_is_refused(browser: Browser, session: Session) -> None:
    plan = browser.ask(ask="plan", do="repair")
    session.do("something in a cell")
    refused = browser.ask(ask="apply", token=plan["token"])
    assert refused["error"]["what"] == "The model has changed since this plan was made."
    assert session.done == [("something in a cell",)]


@pytest.mark.parametrize("token", [None, 1.0, "1", True, -1, 0, [1]])
def test_only_the_token_itself_opens(browser: Browser, session: Session, token: Any) -> None:
    browser.ask(ask="plan", do="repair")
    assert "error" in browser.ask(ask="apply", token=token)
    assert session.done == []


@pytest.mark.parametrize(
    "request_",
    [
        {"ask": "plan", "do": "merge_adapter", "adapters": "math"},
        {"ask": "plan", "do": "merge_adapter", "adapters": [1]},
        {"ask": "plan", "do": "merge_adapter", "adapters": ["a"] * 10_000},
        {"ask": "plan", "do": "unmerge_adapter"},
        {"ask": "graph", "index": 1, "base": 0, "row": 10_000},
        {"ask": "graph", "index": 1, "base": 0, "row": "0"},
        {"ask": "graph", "index": 9, "base": 0, "row": 0},
        {"ask": "export", "index": 1, "base": 0, "as": "exe"},
        {"ask": "export", "as": "markdown"},
        {"ask": "run", "code": "1"},
    ],
)
def test_odd_requests_are_refused(browser: Browser, session: Session, request_: dict[str, Any]) -> None:
    answer = browser.ask(**request_)
    assert answer["error"]["what"]
    assert answer["error"]["where"]
    assert session.done == []


@needs_dot
def test_pictures_and_files_of_a_state(browser: Browser, session: Session) -> None:
    drawing = browser.ask(ask="graph", index=1, base=0, row=0)
    assert drawing["shapes"]
    state = {"index": 1, "base": 0, "row": 3}
    wanted = {
        "markdown": ("peftviz.md", b"### `get_peft_model"),
        "html": ("peftviz.html", b"<!doctype html>"),
        "dot": ("peftviz.dot", b"digraph"),
        "svg": ("peftviz.svg", b"<?xml"),
        "png": ("peftviz.png", b"\x89PNG"),
    }
    for kind, (name, start) in wanted.items():
        answer, (content,) = browser.ask_for_bytes(ask="export", **{"as": kind}, **state)
        assert answer["name"] == name
        assert content.startswith(start)


def test_without_dot_the_widget_says_so_and_the_rest_works(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    failed = browser.ask(ask="graph", index=1, base=0, row=0)["error"]
    assert "`dot`" in failed["what"]
    assert "graphviz.org" in failed["hint"]
    state = {"index": 1, "base": 0, "row": 0}
    assert "error" in browser.ask(ask="export", **{"as": "png"}, **state)
    for kind in ("dot", "markdown", "html"):
        answer, (content,) = browser.ask_for_bytes(ask="export", **{"as": kind}, **state)
        assert "error" not in answer
        assert content


@needs_dot
@pytest.mark.parametrize("subject", [story()[1], diff(*story()[:2])], ids=["snapshot", "diff"])
def test_a_widget_without_a_timeline_draws_and_exports(subject: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(Inspector(subject), monkeypatch)
    assert browser.ask(ask="graph", index=0, base=0, row=0)["shapes"]
    assert browser.ask(ask="export", **{"as": "markdown"}, index=0, base=0)["name"] == "peftviz.md"
    assert "error" in browser.ask(ask="plan", do="repair")


@pytest.mark.parametrize("name", [NAMES["script"], NAMES["surrogate"], NAMES["json"], NAMES["long"]])
def test_hostile_names_travel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timeline = hostile_timeline(name)
    browser = Browser(Inspector(timeline=timeline), monkeypatch)
    for kind in ("markdown", "html", "dot"):
        answer, (content,) = browser.ask_for_bytes(ask="export", **{"as": kind}, index=1, base=0, row=0)
        assert "error" not in answer
        assert len(content) < 2_000_000


def test_plans_need_no_timeline() -> None:
    plans = Plans({"plan": lambda name: f"delete {name}", "delete": lambda name: f"deleted {name}"}, None)
    token = plans.make({"adapter": "a"})["token"]
    assert plans.carry_out(token) == {"lines": ["deleted a"], "said": [None], "held": 0}
