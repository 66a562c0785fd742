"""One call of an operation while it runs: its time, its warnings, the exception it raises."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from peftviz.live.sessions.arguments import error_text, message_text

_OWN_FOLDER = os.path.dirname(__file__) + os.sep


@dataclass(eq=False)
class Operation:
    """What is recorded of one call.

    Attributes:
        name: The name the user called.
        label: What to call the step.
        arguments: Short texts by parameter name.
        duration: Seconds within `measured`.
        warnings: Texts of the warnings raised within `measured`.
        error: Text of the exception that left `measured`, or None.
        result: The model that the operation says to go on with, or None.
    """

    name: str
    label: str
    arguments: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    duration: float = 0.0
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    result: Any = None

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Takes the time, the warnings and the exception of what runs inside; the exception passes on."""
        with _tap.listening(self.warnings):
            start = time.perf_counter()
            try:
                yield
            except BaseException as error:
                self.error = error_text(error)
                raise
            finally:
                self.duration += time.perf_counter() - start


class _WarningTap:
    """Hears each `warnings.warn` of a thread and passes it on unchanged.

    `warnings.catch_warnings(record=True)` would hide what the user's filters show, miss what they hide, delay what they
    turn into errors, and is not safe with threads. So `warnings.warn` itself is replaced, only while an operation runs.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._local = threading.local()
        self._listeners = 0
        self._original: Callable[..., Any] | None = None
        self._replacement: Callable[..., Any] | None = None

    @contextmanager
    def listening(self, heard: list[str]) -> Iterator[None]:
        """Appends the text of each warning that this thread raises inside."""
        with self._lock:
            if not self._listeners:
                self._install()
            self._listeners += 1
        stack = self._local.__dict__.setdefault("stack", [])
        stack.append(heard)
        try:
            yield
        finally:
            stack.pop()
            with self._lock:
                self._listeners -= 1
                if not self._listeners:
                    self._remove()

    def _install(self) -> None:
        original = warnings.warn

        def warn(message: Any, category: Any = None, stacklevel: int = 1, *args: Any, **kwargs: Any) -> None:
            for heard in self._local.__dict__.get("stack", ()):
                heard.append(_warning_text(message, category))
            original(message, category, stacklevel + _hidden_frames(stacklevel), *args, **kwargs)

        self._original, self._replacement = original, warn
        warnings.warn = warn

    def _remove(self) -> None:
        if warnings.warn is self._replacement and self._original is not None:
            warnings.warn = self._original
        self._original = self._replacement = None


def _hidden_frames(stacklevel: int) -> int:
    """How many frames of peftviz stand between a warning and the frame it is to name, that of the tap included."""
    hidden = 1
    frame = sys._getframe(2)
    while stacklevel > 1 and frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_filename.startswith(_OWN_FOLDER):
            hidden += 1
        else:
            stacklevel -= 1
    return hidden


def _warning_text(message: Any, category: Any) -> str:
    if isinstance(message, Warning):
        category = type(message)
    name = category.__name__ if isinstance(category, type) else "UserWarning"
    return f"{name}: {message_text(str(message))}"


_tap = _WarningTap()
