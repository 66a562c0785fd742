"""Bytes and counts as a reader sees them, the same in plans, reports and views."""

from __future__ import annotations

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_COUNT_UNITS = ("", "K", "M", "B", "T")
MINUS = "−"


def format_bytes(count: float) -> str:
    """Bytes with an SI unit and three significant digits, four from 10 on: `"18.19 GB"`, `"131 kB"`."""
    return _scaled(count, 1000.0, _BYTE_UNITS, whole_below=1000)


def format_count(count: float) -> str:
    """A number of things: exact below 10,000, then with a unit: `"1,430"`, `"9.09 B"`."""
    if abs(count) < 10_000:
        return f"{int(count):,}".replace("-", MINUS)
    return _scaled(count, 1000.0, _COUNT_UNITS, whole_below=0)


def plural(count: int, noun: str) -> str:
    """`"1 leftover"`, `"2 leftovers"`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _scaled(value: float, base: float, units: tuple[str, ...], *, whole_below: int) -> str:
    sign = MINUS if value < 0 else ""
    size = abs(float(value))
    if size < whole_below:
        return f"{sign}{int(size)} {units[0]}".rstrip()
    exponent = 0
    # 999,950 rounds to 1,000.0 of a unit: the next unit is what a reader expects.
    while exponent < len(units) - 1 and (size >= base or float(f"{size:.3g}") >= base):
        size /= base
        exponent += 1
    digits = f"{size:.0f}" if size >= 100 else f"{size:.2f}" if size >= 1 else f"{size:.3f}"
    if "." in digits and size < 100:
        digits = digits.rstrip("0").rstrip(".") if digits.endswith("00") else digits
    return f"{sign}{digits} {units[exponent]}".rstrip()
