"""Numbers as a reader sees them."""

from __future__ import annotations

import pytest

from peftviz.views.formatting import (
    format_bytes,
    format_count,
    format_delta,
    format_pair,
    format_shape,
    short_class_names,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (131_072, "131 kB"),
        (999_499, "999 kB"),
        (999_950, "1 MB"),
        (33_554_432, "33.55 MB"),
        (18_190_000_000, "18.19 GB"),
        (1_050_673_152, "1.05 GB"),
        (-14_000_000, "−14 MB"),
        (3 * 10**12, "3 TB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (1_430, "1,430"), (9_999, "9,999"), (10_000, "10 K"), (9_090_000_000, "9.09 B")]
)
def test_counts(count: int, text: str) -> None:
    assert format_count(count) == text


def test_differences_and_pairs() -> None:
    assert format_delta(18.19e9, 18.176e9, unit="bytes") == "−14 MB"
    assert format_delta(1_238, 1_430) == "+192"
    assert format_delta(5, 5) == ""
    assert format_pair("a", "b") == "a → b"
    assert format_pair("a", "a") == "a"


def test_shapes() -> None:
    assert format_shape((8, 4096)) == "8 × 4096"
    assert format_shape(()) == "scalar"


def test_classes_of_one_name_get_their_package_and_pytorch_keeps_the_plain_one() -> None:
    names = ["torch.nn.modules.linear.Linear", "peft.tuners.lora.layer.Linear", "peft.tuners.ia3.layer.Linear", "a.B"]
    assert list(short_class_names(names).values()) == ["Linear", "lora.Linear", "ia3.Linear", "B"]
    clash = ["x.a.layer.Linear", "y.a.layer.Linear", "Linear"]
    assert list(short_class_names(clash).values()) == clash
