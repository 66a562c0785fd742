"""Arguments, warnings and errors as short texts: bounded, the same in every run, no foreign code."""

from __future__ import annotations

import enum
from pathlib import PurePosixPath

import pytest
import torch

from peftviz.live.sessions.arguments import MAX_LENGTH, error_text, message_text, short_text
from tests.live.watched import lora


class Color(enum.Enum):
    RED = 1


class Hostile(str):
    __slots__ = ()

    def __repr__(self) -> str:
        raise AssertionError("called")


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (0.1, "0.1"),
        (Color.RED, "Color.RED"),
        (Hostile("a\u202eb\n"), "'a\\u202eb\\n'"),
        ({"b", "a", "c"}, "{'a', 'b', 'c'}"),
        (("a",), "('a',)"),
        ([1] * 9, "[1, 1, 1, 1, 1, 1, … 3 more]"),
        ({"r": [1, {"x": 2}]}, "{'r': [1, {'x': 2}]}"),
        (PurePosixPath("/a/b"), "PurePosixPath('/a/b')"),
        (torch.zeros(2, 3), "float32[2, 3]"),
        (torch.float16, "torch.float16"),
        (torch.nn.Linear(2, 2), "Linear"),
        (torch.nn.Linear, "Linear"),
        (object(), "object"),
        (lora(), "LoraConfig(r=4, target_modules={'q_proj', 'v_proj'}, init_lora_weights=False)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_short_texts(value: object, text: str) -> None:
    assert short_text(value) == text


def test_texts_are_bounded() -> None:
    cyclic: dict[str, object] = {}
    cyclic["self"] = [cyclic]
    assert short_text(cyclic) == "{'self': [{'self': […]}]}"
    assert len(short_text("x" * 10_000)) == MAX_LENGTH
    assert len(short_text({f"{number:04}": "x" * 50 for number in range(1000)})) == MAX_LENGTH


def test_messages_hold_no_address() -> None:
    assert message_text("<Linear object at 0x7f0a1b2c3d4e> 0x1") == "<Linear object at 0x…> 0x1"


def test_errors_that_cannot_be_read_are_named() -> None:
    assert error_text(KeyError("b")) == "KeyError: 'b'"
    assert error_text(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert error_text(Unreadable()) == "Unreadable: (a message that cannot be read)"
