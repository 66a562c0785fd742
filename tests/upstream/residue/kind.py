"""What a kind of residue is, and what those who try one share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer

import peftviz


@dataclass(frozen=True)
class Shown:
    """What was seen of a kind.

    Attributes:
        behaves: Whether PEFT behaves so.
        found: Codes of the rules that found it.
        mended: Whether peftviz mended it, or does the same thing right; None where nothing can.
    """

    behaves: bool
    found: tuple[str, ...] = ()
    mended: bool | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of residue.

    Attributes:
        title: What happens, for the page.
        issue: Where it is reported.
        rules: Rules of which one at the least must find it where it happens; none when no state shows it.
        show: Tries it.
    """

    title: str
    issue: str
    rules: frozenset[str]
    show: Callable[[], Shown | None]


_NOTED: list[Kind] = []


def kind(title: str, issue: str, *rules: str) -> Callable[[Callable[[], Shown | None]], Callable[[], Shown | None]]:
    """Notes a function as what tries a kind of residue."""

    def note(show: Callable[[], Shown | None]) -> Callable[[], Shown | None]:
        _NOTED.append(Kind(title, issue, frozenset(rules), show))
        return show

    return note


def kinds_of(module: ModuleType) -> dict[str, Kind]:
    """The kinds that a module defines, by the name of the function that tries them, in their order there."""
    return {entry.show.__name__: entry for entry in _NOTED if entry.show.__module__ == module.__name__}


def codes(model: Any, baseline: Any = None, **options: Any) -> tuple[str, ...]:
    found = peftviz.audit(model, baseline=baseline, **options)
    return tuple(sorted({finding.rule for finding in found if finding.severity != "info"}))


def clean(model: Any, baseline: Any = None) -> bool:
    return peftviz.audit(model, baseline=baseline).clean


def fails(call: Callable[[], Any]) -> bool:
    try:
        call()
    except Exception:
        return True
    return False


def layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def reloaded(model: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return type(model).from_pretrained(folder).eval()
