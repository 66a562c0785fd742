"""One display asks for the same table several times: for text, for HTML, for the widget. It is made once."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")


def remembered(make: Callable[..., Made]) -> Callable[..., Made]:
    """Keeps what a pure function made of the last arguments, for as long as these live.

    Args:
        make: A function of positional arguments that never change and can be referred to weakly, or are None.
    """
    last: list[tuple[tuple[weakref.ref[object] | None, ...], Made]] = []

    @functools.wraps(make)
    def call(*given: object) -> Made:
        for references, made in last:
            if len(references) == len(given) and all(map(_is, references, given)):
                return made
        made = make(*given)
        last[:] = [(tuple(None if thing is None else weakref.ref(thing, forget) for thing in given), made)]
        return made

    def forget(dead: weakref.ref[object]) -> None:
        if any(dead is reference for references, _ in last for reference in references):
            last.clear()

    return call


def _is(reference: weakref.ref[object] | None, thing: object) -> bool:
    return thing is None if reference is None else reference() is thing
