"""Who keeps a tensor alive, in words a person understands."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import torch

MAX_FLOORS = 8
MAX_OBJECTS = 400
MAX_HOLDERS = 3

NOT_PYTHON = "no Python object: most likely the autograd graph of an output or loss that is still kept"


def holders_of(tensor: torch.Tensor, *, ignore: Iterable[Any] = ()) -> tuple[str, ...]:
    """Names who holds a tensor, following references upwards until something with a name is met.

    Args:
        tensor: The tensor.
        ignore: Objects of the caller's that hold it and do not count.

    Returns:
        Up to three phrases such as ``"optimizer param_groups[0]"``, ``"a variable `copy`"`` or ``"IPython Out[12]"``.
    """
    found: list[str] = []
    frames = _own_frames()
    skipped = {id(item) for item in ignore} | {id(frame) for frame in frames}
    seen = set(skipped) | {id(tensor)}
    floor: list[tuple[Any, str]] = [(tensor, "")]
    named = _variables(frames)
    for _ in range(MAX_FLOORS):
        above: list[tuple[Any, str]] = []
        for item, through in floor:
            names = named.get(id(item), ())
            found += [_through(name, through) for name in names]
            if names:
                continue
            for referrer in gc.get_referrers(item):
                if id(referrer) in seen or referrer is floor or referrer is above or _is_own(referrer, frames):
                    continue
                seen.add(id(referrer))
                above.append((referrer, _describe(referrer, item, through)))
        found = list(dict.fromkeys(found))
        if len(found) >= MAX_HOLDERS or not above or len(seen) > MAX_OBJECTS:
            break
        finished = [(item, through) for item, through in above if through.startswith("!")]
        found += [through[1:] for _, through in finished]
        floor = [(item, through) for item, through in above if not through.startswith("!")]
        del above
    return tuple(dict.fromkeys(found))[:MAX_HOLDERS] or (NOT_PYTHON,)


def _describe(referrer: Any, item: Any, through: str) -> str:
    """What a referrer adds to the phrase; a phrase that starts with `!` is complete."""
    if isinstance(referrer, types.TracebackType):
        return "!a traceback"
    if isinstance(referrer, types.FrameType):
        names = [name for name, value in referrer.f_locals.items() if value is item]
        function = referrer.f_code.co_name
        where = "" if function == "<module>" else f" of {function}()"
        return f"!{_through(f'a variable `{names[0]}`{where}' if names else f'the running function {function}()', through)}"
    if isinstance(referrer, torch.optim.Optimizer):
        return f"!{type(referrer).__name__} {through or 'state'}".strip()
    if isinstance(referrer, dict) and "params" in referrer and "lr" in referrer:
        return f"param_groups{_position(referrer)}"
    if isinstance(referrer, torch.nn.Module):
        return f"module {type(referrer).__name__}"
    return through


def _position(group: dict[str, Any]) -> str:
    for referrer in gc.get_referrers(group):
        if isinstance(referrer, list) and len(referrer) < 1000:
            for index, item in enumerate(referrer):
                if item is group:
                    return f"[{index}]"
    return ""


def _variables(frames: list[types.FrameType]) -> dict[int, list[str]]:
    """Names of module-level variables, IPython results and errors by the `id` of what they hold."""
    named: dict[int, list[str]] = {}
    for module_name in ("__main__", "builtins"):
        module = sys.modules.get(module_name)
        for name, value in list(vars(module).items()) if module is not None else ():
            if name in ("In", "Out", "_ih", "_oh", "_dh") or name.startswith("__"):
                continue
            if name.startswith("_") and name[1:].isdigit():
                continue
            named.setdefault(id(value), []).append(f"a variable `{name}`")
    results = vars(sys.modules["__main__"]).get("Out") if "__main__" in sys.modules else None
    if isinstance(results, dict):
        for number, value in results.items():
            named[id(value)] = [f"IPython Out[{number}]"]
    for name in ("last_exc", "last_value"):
        error = getattr(sys, name, None)
        if error is not None:
            named.setdefault(id(error), []).append("the last traceback")
    return named


def _through(name: str, through: str) -> str:
    return f"{name} ({through})" if through else name


def _own_frames() -> list[types.FrameType]:
    """The frames of peftviz itself on the stack."""
    frames: list[types.FrameType] = []
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "peftviz":
        frames.append(frame)
        frame = frame.f_back
    return frames


def _is_own(referrer: Any, frames: list[types.FrameType]) -> bool:
    if isinstance(referrer, types.FrameType):
        return str(referrer.f_globals.get("__name__", "")).partition(".")[0] == "peftviz"
    if isinstance(referrer, (list, tuple, dict)):
        return any(referrer is value for frame in frames for value in frame.f_locals.values())
    return isinstance(referrer, (types.CellType,)) or isinstance(referrer, _ITERATORS)


_ITERATORS: tuple[type, ...] = (type(iter([])), type(iter({}.values())), type(iter(())), types.GeneratorType)
