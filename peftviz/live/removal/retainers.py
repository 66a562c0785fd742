"""Who keeps a tensor alive, in words a person understands."""

from __future__ import annotations

import gc
import sys
import types
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FLOORS = 7
MAX_OBJECTS = 200
MAX_HOLDERS = 3

NOT_PYTHON = "no Python object: most likely the autograd graph of an output or loss that is still kept"
UNNAMED = "an object that no variable names"

_TRANSPARENT: tuple[type, ...] = (
    types.CellType,
    types.GeneratorType,
    type(iter([])),
    type(iter(())),
    type(iter({}.values())),
)


def holders_of(tensor: torch.Tensor) -> tuple[str, ...]:
    """Names who holds a tensor, following references upwards until something with a name is met.

    Args:
        tensor: The tensor.

    Returns:
        Up to three phrases such as ``"AdamW param_groups[0]"``, ``"a variable `copy`"`` or ``"IPython Out[12]"``.
    """
    named = _named_objects()
    found: dict[str, None] = dict.fromkeys(named.get(id(tensor), ()))
    seen = {id(tensor), id(named), *_own_frames()}
    floor: list[tuple[Any, str]] = [(tensor, "")]
    seen.add(id(floor))
    referred = False
    for _ in range(MAX_FLOORS):
        above: list[tuple[Any, str]] = []
        seen.add(id(above))
        through_of = {id(item): (item, through) for item, through in floor}
        seen.update((id(through_of), *map(id, through_of.values()), *map(id, floor)))
        items = [item for item, _ in floor]
        referrer: Any = None
        referrers = gc.get_referrers(*items)  # one look at the heap for the whole floor
        seen.update((id(items), id(referrers)))
        for referrer in referrers:
            if id(referrer) in seen or _is_own(referrer) or len(above) >= MAX_OBJECTS:
                continue
            seen.add(id(referrer))
            held = next((id(part) for part in gc.get_referents(referrer) if id(part) in through_of), None)
            if held is None:
                continue
            referred = True
            names, phrase = _describe(referrer, *through_of[held])
            names = [*names, *(_through(name, phrase) for name in named.get(id(referrer), ()))]
            found.update(dict.fromkeys(names))
            if not names:
                above.append((referrer, phrase))
        del referrers, referrer  # this frame may be among them: a cycle that would keep the tensor
        if len(found) >= MAX_HOLDERS or not above:
            break
        floor = above
    return tuple(found)[:MAX_HOLDERS] or ((UNNAMED,) if referred else (NOT_PYTHON,))


def _describe(referrer: Any, item: Any, through: str) -> tuple[list[str], str]:
    """Complete phrases for a referrer that has a name of its own, and what it adds to those of its holders."""
    if isinstance(referrer, types.TracebackType):
        return ["a traceback"], through
    if isinstance(referrer, types.FrameType):
        return [f"the running function {referrer.f_code.co_name}()"], through
    if isinstance(referrer, types.ModuleType):
        return [_through(f"module {referrer.__name__}", through)], through
    if isinstance(referrer, torch.optim.Optimizer):
        return [f"{type(referrer).__name__} {through or 'state'}"], through
    if isinstance(referrer, dict):
        if "params" in referrer and "lr" in referrer:
            return [], f"param_groups{_position(referrer)}"
        if "__name__" in referrer and "__builtins__" in referrer:
            names = [name for name, value in referrer.items() if value is item]
            return [_through(f"a variable `{names[0]}` of {referrer['__name__']}", through)] if names else [], through
    if isinstance(referrer, torch.nn.Module):
        return [], through or f"through a module {type(referrer).__name__}"
    return [], through


def _position(group: dict[str, Any]) -> str:
    for referrer in gc.get_referrers(group):
        if isinstance(referrer, list) and all(isinstance(item, dict) and "params" in item for item in referrer):
            for index, item in enumerate(referrer):
                if item is group:
                    return f"[{index}]"
    return ""


def _named_objects() -> dict[int, list[str]]:
    """What has a name of its own: variables, IPython results, the last error, by `id`."""
    named: dict[int, list[str]] = {}
    main = vars(sys.modules["__main__"]) if "__main__" in sys.modules else {}
    for name, value in list(main.items()):
        is_result = name.startswith("_") and name.lstrip("_i").isdigit()
        if not (name.startswith("__") or name in ("In", "Out", "_ih", "_oh", "_dh") or is_result):
            named.setdefault(id(value), []).append(f"a variable `{name}`")
    results = main.get("Out")
    if isinstance(results, dict):
        for number, value in list(results.items()):
            named.setdefault(id(value), []).insert(0, f"IPython Out[{number}]")
    for name in ("last_exc", "last_value", "last_traceback"):
        error = getattr(sys, name, None)
        if error is not None:
            named.setdefault(id(error), []).append("the last traceback")
    for frame in _frames():
        local = frame.f_locals
        where = f" of {frame.f_code.co_name}()"
        for name, value in list(local.items()):
            named.setdefault(id(value), []).append(f"a variable `{name}`{where}")
        if type(local) is dict:
            local.clear()  # before Python 3.13 a copy that the frame keeps: it must not hold anything itself
    return named


def _frames() -> Iterator[types.FrameType]:
    """The functions on the stacks of all threads, peftviz' own left out; module code has its variables in globals."""
    running = list(sys._current_frames().values())
    while running:  # emptied: this frame is one of them, and a cycle would keep its callers with what they hold
        current: types.FrameType | None = running.pop()
        while current is not None:
            if not _is_ours(current) and current.f_locals is not current.f_globals:
                yield current
            current = current.f_back


def _own_frames() -> set[int]:
    """Of the functions of this search that are running, the `id`."""
    frames = set()
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame):
        frames.add(id(frame))
        frame = frame.f_back
    return frames


def _is_ours(frame: types.FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "peftviz"


def _is_own(referrer: Any) -> bool:
    """Whether a referrer is only how this search, or an iteration, looks at things."""
    if isinstance(referrer, types.FrameType):
        return _is_ours(referrer)
    return isinstance(referrer, _TRANSPARENT)


def _through(name: str, through: str) -> str:
    return f"{name} ({through})" if through else name
