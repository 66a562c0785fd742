"""What is left to do on PEFT's handles when their last adapter goes."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any

from peftviz.errors import AdapterError
from peftviz.live.peft_facts import (
    ACTIVE_OF_HANDLE,
    FIRST_ADDED,
    INNER_TUNER,
    MODEL_SLOTS,
    NAMED_BASE,
    OUTER_HANDLES,
    PEFT_ARGUMENTS,
    REGISTRY_ATTRIBUTES,
    handle_kind,
)
from peftviz.live.snapshots.base_model import base_of

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch

    from peftviz.live.removal.survey import Survey


def registry_of_handle(handle: torch.nn.Module) -> dict[str, Any] | None:
    """The configs that a handle goes by: its own, or the next below; a second tuner on a base shares the first's."""
    module: torch.nn.Module | None = handle
    while module is not None:
        slots = vars(module)
        for attribute in REGISTRY_ATTRIBUTES:
            if isinstance(slots.get(attribute), dict):
                registry: dict[str, Any] = slots[attribute]
                return registry
        if handle_kind(module) is None:
            return None
        children = slots["_modules"]
        module = next((children[slot] for slot in (*MODEL_SLOTS, INNER_TUNER) if children.get(slot) is not None), None)
    return None


def loses_all(handle: torch.nn.Module, names: Collection[str]) -> bool:
    """Whether a handle has no adapter left when the names go."""
    registry = registry_of_handle(handle)
    return registry is not None and all(name in names for name in registry)


def outer_handles(survey: Survey) -> list[torch.nn.Module]:
    """The handles at the top of the model, outermost first, tuners left out."""
    return [holder.module for holder in survey.handles if handle_kind(holder.module) in OUTER_HANDLES]


def without_adapter(method: str, handle: torch.nn.Module) -> functools.partial[Any]:
    """A method for a handle that has no adapter: it runs the base model until an adapter is active again."""
    return functools.partial(_run, handle, method)


def starting_anew(handle: torch.nn.Module) -> functools.partial[Any]:
    """`add_adapter` for a handle that has no adapter: it is built anew, its first adapter active, as a fresh one is.

    What many methods share between their adapters is set up when a tuner is made, and never by `add_adapter`.
    """
    return functools.partial(_start, handle)


def _start(handle: torch.nn.Module, *arguments: Any, **keywords: Any) -> None:
    given = inspect.signature(getattr(type(handle), FIRST_ADDED)).bind(handle, *arguments, **keywords).arguments
    _, name, config, *rest = given.items()
    before = dict(vars(handle))
    base = base_of(handle)
    if NAMED_BASE[0] in vars(config[1]):
        vars(config[1])[NAMED_BASE[0]] = vars(base).get(NAMED_BASE[1]) or None  # a model from a config is named ""
    vars(handle).clear()
    try:
        type(handle).__init__(handle, base, config[1], name[1], **dict(rest))
    except BaseException:
        vars(handle).clear()
        vars(handle).update(before)
        raise


def _run(handle: torch.nn.Module, method: str, *arguments: Any, **keywords: Any) -> Any:
    if vars(handle).get(ACTIVE_OF_HANDLE):
        return getattr(type(handle), method)(handle, *arguments, **keywords)
    base = base_of(handle)
    if method == "get_base_model":
        return base
    if method == "disable_adapter":
        return contextlib.nullcontext()
    keywords = {key: value for key, value in keywords.items() if key not in PEFT_ARGUMENTS}
    if method == "forward":
        return base(*arguments, **keywords)
    if not callable(getattr(type(base), method, None)):
        raise AdapterError(
            f"This {type(handle).__name__} has no adapter any more, and its {type(base).__name__} has no {method}().",
            where=f"{method}() of the old handle",
            hint="Go on with report.model of the deletion, or make an adapter active with add_adapter and set_adapter.",
        )
    return getattr(base, method)(*arguments, **keywords)
