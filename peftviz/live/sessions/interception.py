"""Lets open sessions see adapter operations: exchanges the code of PEFT's functions, and puts it back.

Why the code of a function and not its name: `docs/decisions/interception.md`.
"""

from __future__ import annotations

import importlib
import inspect
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any, Protocol

import torch

from peftviz.live.peft_facts import BLOCK_OPERATIONS, operation_functions
from peftviz.live.sessions.arguments import call_label, describe_call, texts
from peftviz.live.sessions.operation import Operation

OWN_OPERATIONS = {
    ("peftviz.live.removal.deletion", "delete_adapter"): "peftviz.delete_adapter",
    ("peftviz.live.removal.repair", "repair"): "peftviz.repair",
    ("peftviz.live.activation.switching", "set_adapter"): "peftviz.set_adapter",
    ("peftviz.live.activation.switching", "enable_adapters"): "peftviz.enable_adapters",
    ("peftviz.live.activation.switching", "disable_adapters"): "peftviz.disable_adapters",
    ("peftviz.live.activation.switching", "merge_adapter"): "peftviz.merge_adapter",
    ("peftviz.live.activation.switching", "unmerge_adapter"): "peftviz.unmerge_adapter",
    ("peftviz.live.removal.unload", "unload"): "peftviz.unload",
}
"""Functions of peftviz that change a model, and the names their steps bear."""


class Observer(Protocol):
    """What an open session is to the interception."""

    def concerns(self, modules: Sequence[torch.nn.Module]) -> bool:
        """Whether an operation on these modules is one on the watched model."""

    def begin(self, operation: Operation) -> Any:
        """Called before an operation; returns what `finish` is to be given."""

    def finish(self, operation: Operation, begun: Any) -> None:
        """Called after an operation, whether it raised or not."""

    def enter(self, operation: Operation) -> Any:
        """Called before a block operation is entered; returns what `leave` is to be given."""

    def leave(self, operation: Operation, entered: Any) -> None:
        """Called after a block operation was left."""


class _Busy(threading.local):
    """The observers that are not to be told of calls in this thread: they record an outer one already."""

    def __init__(self) -> None:
        self.observers: list[Observer] = []


_busy = _Busy()


@contextmanager
def unobserved(observers: Iterable[Observer]) -> Iterator[None]:
    """Keeps the operations that this thread makes inside from becoming steps of their own."""
    added = list(observers)
    _busy.observers.extend(added)
    try:
        yield
    finally:
        for observer in added:
            _busy.observers.remove(observer)


def is_unobserved(observer: Observer) -> bool:
    """Whether this thread is inside an operation that the observer records, or may not record."""
    return any(other is observer for other in _busy.observers)


class _Target:
    """One intercepted function: its original code, and what a call of it does meanwhile."""

    def __init__(self, function: FunctionType, name: str) -> None:
        self.function = function
        self.name = name
        self.code: CodeType = function.__code__
        self.signature = _signature(function)
        self.had_signature = "__signature__" in vars(function)
        self.original = FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
        )
        self.original.__kwdefaults__ = function.__kwdefaults__

    def install(self) -> None:
        if self.signature is not None and not self.had_signature:
            self.function.__signature__ = self.signature  # type: ignore[attr-defined]
        self.function.__code__ = _gate(self.code, self)

    def restore(self) -> None:
        self.function.__code__ = self.code
        if not self.had_signature:
            vars(self.function).pop("__signature__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        observers = [observer for observer in _open_observers() if not is_unobserved(observer)]
        modules = _modules_of(args, kwargs) if observers else []
        if not modules:
            return self.original(*args, **kwargs)
        concerned = [observer for observer in observers if observer.concerns(modules)]
        if not concerned:
            with unobserved(observers):
                return self.original(*args, **kwargs)
        operation = self.operation(args, kwargs)
        if self.name in BLOCK_OPERATIONS:
            return _block(self.original, args, kwargs, operation, concerned, observers)
        with unobserved(observers):
            begun = [(observer, observer.begin(operation)) for observer in concerned]
            try:
                with operation.measured():
                    result = self.original(*args, **kwargs)
                operation.result = args[0] if self.name == "__init__" else result
                return result
            finally:
                for observer, token in begun:
                    observer.finish(operation, token)
                operation.result = None

    def operation(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Operation:
        """What is recorded of a call with these arguments."""
        name = type(args[0]).__name__ if self.name == "__init__" else self.name
        arguments = describe_call(self.signature, args, kwargs)
        return Operation(name, call_label(name, arguments), texts(arguments))


@contextmanager
def _block(
    original: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    operation: Operation,
    concerned: Sequence[Observer],
    observers: Sequence[Observer],
) -> Iterator[Any]:
    """A block operation: what it does on entry and on exit is its own, what the user does inside is not."""
    entered = [(observer, observer.enter(operation)) for observer in concerned]
    try:
        with unobserved(observers), operation.measured():
            block = original(*args, **kwargs)
            value = block.__enter__()
        try:
            yield value
        except BaseException as error:
            with unobserved(observers), _measured_exit(operation, error):
                swallowed = block.__exit__(type(error), error, error.__traceback__)
            if not swallowed:
                raise
        else:
            with unobserved(observers), operation.measured():
                block.__exit__(None, None, None)
    finally:
        for observer, token in entered:
            with unobserved(observers):
                observer.leave(operation, token)


@contextmanager
def _measured_exit(operation: Operation, error: BaseException) -> Iterator[None]:
    """Like `operation.measured`, but the user's own exception passing through is no failure of the operation."""
    failed_before = operation.error
    try:
        with operation.measured():
            yield
    except BaseException as raised:
        if raised is error:
            operation.error = failed_before
        raise


def _gate(code: CodeType, target: _Target) -> CodeType:
    """Code that fits in the place of `code` and calls `target` instead.

    A function takes only code with as many free variables as its own, and a debugger that reads the locals of a
    frame needs code that was compiled with them: hence a template for each number.
    """
    template = _TEMPLATES[len(code.co_freevars)]
    return template.replace(
        co_consts=tuple(target if value == _PLACE else value for value in template.co_consts),
        co_name=code.co_name,
    )


_PLACE = "the target"


def _templates() -> tuple[CodeType, ...]:
    """Gates with no, one, two and three free variables; the one that methods have is `__class__`."""
    first = second = third = None

    def none(*args, **kwargs):  # type: ignore[no-untyped-def]
        target = "the target"
        return target(*args, **kwargs)  # type: ignore[operator]

    def one(*args, **kwargs):  # type: ignore[no-untyped-def]
        target = "the target"
        return target(*args, **kwargs) if target else first  # type: ignore[operator]

    def two(*args, **kwargs):  # type: ignore[no-untyped-def]
        target = "the target"
        return target(*args, **kwargs) if target else (first, second)  # type: ignore[operator]

    def three(*args, **kwargs):  # type: ignore[no-untyped-def]
        target = "the target"
        return target(*args, **kwargs) if target else (first, second, third)  # type: ignore[operator]

    return none.__code__, one.__code__, two.__code__, three.__code__


_TEMPLATES = _templates()


_lock = threading.RLock()  # re-entrant: the garbage collector may close a session at any moment
_observers: dict[int, weakref.ref[Any]] = {}
_targets: dict[int, _Target] = {}


def _open_observers() -> list[Observer]:
    return [observer for ref in list(_observers.values()) if (observer := ref()) is not None]


def register(observer: Observer) -> None:
    """Tells an observer of operations from now on, until `unregister` or until nobody holds it any more."""
    key = id(observer)
    with _lock:
        _observers[key] = weakref.ref(observer, lambda _: _forget(key))
        try:
            _install()
        except BaseException:
            _forget(key)
            raise


def unregister(observer: Observer) -> None:
    """Stops telling an observer. After the last one nothing stays exchanged."""
    _forget(id(observer))


def _install() -> None:
    for function, name in {**operation_functions(), **_own_functions()}.items():
        if id(function) not in _targets and len(function.__code__.co_freevars) < len(_TEMPLATES):
            target = _targets[id(function)] = _Target(function, name)
            target.install()


def _own_functions() -> dict[FunctionType, str]:
    found = {}
    for (module, function), name in OWN_OPERATIONS.items():
        found[vars(importlib.import_module(module))[function]] = name
    return found


def _forget(key: int) -> None:
    with _lock:
        _observers.pop(key, None)
        while _targets and not _observers:
            _targets.popitem()[1].restore()


def _modules_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.nn.Module]:
    """The models among the arguments, without one that is only being built."""
    values = [*args, *kwargs.values()]
    return [value for value in values if isinstance(value, torch.nn.Module) and "_modules" in vars(value)]


def _signature(function: FunctionType) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None
