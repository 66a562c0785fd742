"""Numbers and names as a reader sees them, the same in every renderer."""

from __future__ import annotations

from collections.abc import Iterable

from peftviz.core.quantities import MINUS as MINUS
from peftviz.core.quantities import format_bytes as format_bytes
from peftviz.core.quantities import format_count as format_count
from peftviz.core.quantities import plural as plural

_DTYPES = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8 e4m3",
    "float8_e5m2": "fp8 e5m2",
}
ARROW = "→"


def format_delta(before: float, after: float, *, unit: str = "count") -> str:
    """A difference with its sign, `""` when there is none: `"−14 MB"`, `"+192"`."""
    delta = after - before
    if delta == 0:
        return ""
    text = format_bytes(abs(delta)) if unit == "bytes" else format_count(abs(delta))
    return ("+" if delta > 0 else MINUS) + text


def format_pair(before: str, after: str) -> str:
    """`"before → after"`, or one of them when they are alike."""
    return after if before == after else f"{before} {ARROW} {after}"


def format_shape(shape: Iterable[int]) -> str:
    """Sizes of the dimensions: `"8 × 4096"`; a scalar has none and is `"scalar"`."""
    return " × ".join(str(size) for size in shape) or "scalar"


def format_dtype(dtype: str) -> str:
    """PyTorch's name of a dtype, shortened as people write it: `"bf16"`."""
    return _DTYPES.get(dtype, dtype)


def short_class_names(types: Iterable[str]) -> dict[str, str]:
    """A short name for each qualified class name.

    Two classes of the same name stay apart: PyTorch's keeps its plain name, others get their package
    (`"lora.Linear"`), and the whole qualified name when that is not enough.

    Args:
        types: Qualified class names, as in `"peft.tuners.lora.layer.Linear"`.

    Returns:
        Qualified name to short name.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(types):
        groups.setdefault(name.rpartition(".")[2], []).append(name)
    short: dict[str, str] = {}
    for plain, members in groups.items():
        native = [name for name in members if name.startswith("torch.")]
        keeps = members[0] if len(members) == 1 else native[0] if len(native) == 1 else None
        packaged = [_with_package(name) for name in members]
        for name, candidate in zip(members, packaged, strict=True):
            short[name] = plain if name == keeps else candidate if packaged.count(candidate) == 1 else name
    return short


def _with_package(name: str) -> str:
    parts = name.split(".")
    return f"{parts[-3]}.{parts[-1]}" if len(parts) >= 3 else name
