"""The Graphviz picture: golden source, both states, arrows, and the way without the `dot` program."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given

from peftviz.core.diff import diff
from peftviz.errors import LookupFailure, MissingDependencyError, PeftvizError
from peftviz.views.renderers.graph import graph
from tests.core import strategies
from tests.core.stand_in import Model
from tests.views.story import plain, story

Golden = Callable[[str, str], None]

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="the dot program is not installed")


def test_golden_leftover(golden: Golden) -> None:
    _, adapters, left = story()
    golden("leftover.dot", diff(adapters, left).graph().source.replace("<tr>", "\n<tr>"))


def test_golden_wrapping_of_one_layer(golden: Golden) -> None:
    first, adapters, _ = story()
    picture = diff(first, adapters).graph("base_model.model.model.layers.1.q_proj")
    golden("wrapping.dot", picture.source.replace("<tr>", "\n<tr>"))


def test_both_states_are_there_and_an_arrow_for_each_wrapped_module() -> None:
    first, adapters, _ = story()
    source = diff(first, adapters).graph().source
    before, after = source.split("after [label", 1)
    assert "lora_A" not in before
    assert "lora_A" in after
    arrows = re.findall(r"before:e(\d+):e -> after:r(\d+):w", source)
    assert len(arrows) == 4  # the model, both projections of the folded layers, the head
    assert all(old == new for old, new in arrows)
    for row, _ in arrows:
        assert f'port="e{row}"' in before
        assert f'port="r{row}"' in after


def test_the_leftover_is_red_by_word_and_colour_and_only_after() -> None:
    _, adapters, left = story()
    before, after = diff(adapters, left).graph().source.split("after [label", 1)
    assert "LEFTOVER" not in before
    assert after.count("◆ LEFTOVER") == 1
    assert "#b3192b" in after


def test_a_path_of_either_state_will_do_and_an_unknown_one_names_near_ones() -> None:
    first, adapters, _ = story()
    change = diff(first, adapters)
    assert "lm_head" not in change.graph("model.layers.0").source
    assert "lm_head" in change.graph("base_model.model.lm_head").source
    with pytest.raises(LookupFailure, match="has a module 'lm_heat'") as failure:
        change.graph("lm_heat")
    assert "lm_head" in failure.value.hint


def test_a_snapshot_is_one_state_and_knows_its_paths() -> None:
    first, adapters, _ = story()
    source = first.graph("model.layers.0").source
    assert "<b>now</b>" in source
    assert "lm_head" not in source
    assert " -> " not in source
    assert "lora_A" in adapters.graph().source
    with pytest.raises(LookupFailure, match="has no module 'lm_heat'") as failure:
        first.graph("lm_heat")
    assert failure.value.where == "Snapshot.graph(path)"
    assert "lm_head" in failure.value.hint


@needs_dot
def test_a_part_that_is_there_on_one_side_only_can_be_drawn() -> None:
    first, adapters, _ = story()
    path = "base_model.model.lm_head.modules_to_save.math"
    for change in (diff(first, adapters), diff(adapters, first)):
        picture = change.graph(path)
        assert picture.source.count("not there") == 1
        assert b"modules_to_save" in picture.pipe(format="svg") or b"math" in picture.pipe(format="svg")


@needs_dot
def test_what_dot_refuses_is_an_error_with_three_parts() -> None:
    picture = story()[0].graph()
    picture.node("broken", label="<<b>>")
    with pytest.raises(PeftvizError, match="could not draw") as refusal:
        picture.pipe(format="svg")
    assert refusal.value.where
    assert refusal.value.hint


@needs_dot
@pytest.mark.parametrize(
    ("ending", "start"), [("dot", b"digraph"), ("svg", b"<?xml"), ("PNG", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_a_picture_is_written_as_its_ending_says(tmp_path: Path, ending: str, start: bytes) -> None:
    path = tmp_path / f"picture.{ending}"
    assert story()[0].graph().write(str(path)) == path
    assert path.read_bytes().startswith(start)


def test_what_cannot_be_written_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = story()[0].graph()
    with pytest.raises(PeftvizError, match=r"cannot be written as '\.gif'") as refusal:
        picture.write(tmp_path / "picture.gif")
    assert ".svg" in refusal.value.hint
    with pytest.raises(PeftvizError, match="cannot be written") as refusal:
        picture.write(tmp_path / "nowhere" / "picture.dot")
    assert "nowhere" in refusal.value.where
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError):
        picture.write(tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()
    assert picture.write(tmp_path / "picture.gv").read_text(encoding="utf-8") == picture.source


@needs_dot
def test_a_notebook_gets_svg() -> None:
    first, adapters, _ = story()
    bundle = diff(first, adapters).graph()._repr_mimebundle_()
    assert bundle["image/svg+xml"].lstrip().startswith("<?xml")
    assert bundle["text/plain"].startswith("digraph")


def test_without_dot_the_source_is_there_and_drawing_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    first, adapters, _ = story()
    picture = diff(first, adapters).graph()
    with pytest.raises(MissingDependencyError, match="Graphviz program `dot`"):
        picture.pipe()
    with pytest.raises(MissingDependencyError, match="Graphviz program `dot`"):
        picture.render(directory=tmp_path)
    bundle = picture._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    assert bundle["text/plain"].endswith(picture.source)
    assert "not installed" in bundle["text/plain"]


@needs_dot
@pytest.mark.parametrize("name", ['"]; evil [', "<b>", "&amp;", "a\\Nb\\", "\x00\u202e", "x" * 100_000, "é—模", "-->"])
def test_dot_accepts_hostile_names(name: str) -> None:
    first = plain(1)
    second = first.copy()
    second.root.children[name] = second.root.children.pop("lm_head")
    second.label = name
    svg = diff(first.snapshot(), second.snapshot()).graph().pipe(format="svg", encoding="utf-8")
    assert "evil" not in re.sub(r"<text.*?</text>", "", svg)
    assert "<script" not in svg


@given(strategies.histories())
def test_any_diff_can_be_drawn(states: list[Model]) -> None:
    before, after = (state.snapshot() for state in states)
    source = graph(diff(before, after)).source
    assert source == graph(diff(before, after)).source
    assert all(character.isprintable() or character in "\n\t" for character in source)
