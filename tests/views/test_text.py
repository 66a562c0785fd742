"""Plain text: golden, and true."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.core.plan import Action, DeletionPlan
from peftviz.core.timeline import Step, Timeline
from peftviz.errors import PeftvizError
from peftviz.views.renderers.text import MAX_LINES, to_text
from tests.core import strategies
from tests.core.stand_in import Model
from tests.views.story import adapted, half_deleted, linear, plain, story

Golden = Callable[[str, str], None]


class Report:
    """What a deletion hands back, as far as a renderer looks at it."""

    def __init__(self) -> None:
        _, self.before, self.after = story(2)
        self.diff = diff(self.before, self.after)
        self.audit = audit_snapshot(self.after)

    def lines(self) -> list[str]:
        return ["Deleted adapter 'math'", "  freed 8 tensors", "  still alive: lm_head.weight, held by optimizer"]


def plan() -> DeletionPlan:
    actions = (Action("remove", "model.layers.0.q_proj", "lora_A['math']"), Action("remove", "", "peft_config['math']"))
    return DeletionPlan(
        adapter="math",
        handle="PeftModel",
        actions=actions,
        names=("math",),
        active_before=("math",),
        next_active=("default",),
        remaining=("default",),
        tensors=8,
        nbytes=4096,
        is_last=False,
        unwrap=True,
    )


def timeline() -> Timeline:
    first, adapters, left = story(2)
    steps = [
        Step("get_peft_model('default')", "get_peft_model", first, adapters, duration=1.9),
        Step("delete_adapter('math')", "delete_adapter", adapters, left, error="KeyError: 'math'", duration=0.4),
    ]
    return Timeline(first, steps)


def test_golden_snapshot(golden: Golden) -> None:
    golden("snapshot.txt", to_text(story()[1]))


def test_golden_wrapping(golden: Golden) -> None:
    first, adapters, _ = story()
    golden("wrapping.txt", to_text(diff(first, adapters)))


def test_golden_leftover(golden: Golden) -> None:
    _, adapters, left = story()
    golden("leftover.txt", to_text(diff(adapters, left)))


def test_golden_audit(golden: Golden) -> None:
    first, _, left = story()
    golden("audit.txt", to_text(audit_snapshot(left, baseline=first), width=80))


def test_a_plan_is_its_lines() -> None:
    assert to_text(plan()) == "\n".join(plan().lines())


def test_golden_report(golden: Golden) -> None:
    golden("report.txt", to_text(Report()))


def test_golden_timeline(golden: Golden) -> None:
    golden("timeline.txt", to_text(timeline()))


def test_a_session_is_its_timeline_and_a_duration_is_never_shown() -> None:
    class Session:
        def __init__(self) -> None:
            self.timeline = timeline()

    text = to_text(Session())
    assert text == to_text(timeline())
    assert "1.9" not in text


def test_the_red_row_says_leftover_in_words_with_its_size() -> None:
    _, adapters, left = story()
    (line,) = [line for line in to_text(diff(adapters, left)).splitlines() if "◆ LEFTOVER" in line]
    assert "modules_to_save.math" in line
    assert line.endswith("128 kB")


def test_the_layers_are_folded_into_one_line() -> None:
    _, adapters, left = story(32)
    text = to_text(diff(adapters, left))
    assert "layers.0–31: 32 alike" in text
    assert text.count("lora_A.math") == 2  # of q_proj and v_proj


def test_what_does_not_fit_is_said() -> None:
    model = plain(1)
    for index in range(300):
        model.root.children[f"head{index}"] = linear(model, index + 1, 2)
    text = to_text(model.snapshot())
    assert "line" in text.splitlines()[-1]
    assert len(text.splitlines()) < MAX_LINES + 15
    shown = sum("head" in line for line in text.splitlines() if "─ head" in line)
    assert f"… {300 - shown} lines more here" in text


def test_a_red_row_is_shown_even_when_there_is_room_for_few() -> None:
    first = plain(1)
    for index in range(300):
        first.root.children[f"head{index}"] = linear(first, index + 1, 2)
    second = adapted(first, "default", "math")
    text = to_text(diff(first.snapshot(), half_deleted(second, "math").snapshot()))
    assert "math" in "".join(line for line in text.splitlines() if "◆ LEFTOVER" in line)


@given(strategies.histories(), st.sampled_from((60, 80, 100, 140)))
def test_any_diff_fits_its_width_and_hides_nothing(states: list[Model], width: int) -> None:
    before, after = (state.snapshot() for state in states)
    change = diff(before, after)
    text = to_text(change, width=width)
    assert text == to_text(diff(before, after), width=width)
    assert all(len(line) <= width for line in text.splitlines())
    assert all(character.isprintable() for character in text.replace("\n", ""))


def test_a_name_cannot_write_lines_or_colours() -> None:
    model = plain(1)
    model.root.children["\x1b[31m\n◆ LEFTOVER\u202e"] = linear(model, 2, 2)
    text = to_text(model.snapshot())
    assert "\x1b" not in text
    assert "\\x1b[31m\\n◆ LEFTOVER\\u202e" in text


def test_other_objects_are_refused() -> None:
    with pytest.raises(PeftvizError, match="cannot show an object of type int"):
        to_text(3)
