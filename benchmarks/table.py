"""The figures as a Markdown table, each beside its budget."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        model: `"M"`, `"L"`, `"XL"` or `""`.
        what: What was measured.
        value: The figure that a budget speaks of, in `unit`.
        unit: `"B"` for multiples of the bare walk, `"bytes"`, `"s"`, `"%"`.
        budget: The most that is allowed, or None.
        seconds: The time behind a ratio, or None.
        note: What else a reader must know.
    """

    model: str
    what: str
    value: float | None
    unit: str
    budget: float | None = None
    seconds: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.budget is None or self.value is None:
            return ""
        return "pass" if self.value <= self.budget else "**FAIL**"


HEAD = "| model | what | time | figure | budget | |\n|---|---|--:|--:|--:|---|"


def rows(figures: list[Figure]) -> str:
    """The figures as rows below `HEAD`."""
    lines = []
    for figure in figures:
        cells = (
            figure.model,
            figure.what + (f" ({figure.note})" if figure.note else ""),
            "" if figure.seconds is None else duration(figure.seconds),
            "" if figure.value is None else f"{figure.value:.3g} {figure.unit}",
            "" if figure.budget is None else f"≤ {figure.budget:g} {figure.unit}",
            figure.verdict,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds with a fitting unit and three digits."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.1f} s"
