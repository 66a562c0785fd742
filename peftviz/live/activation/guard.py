"""Remembers what PEFT's own operations may change in a model, so that one that fails leaves no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peftviz.live.removal.journal import Journal
from peftviz.live.removal.survey import wrapped_module

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from peftviz.live.removal.survey import Survey

_STORES = ("_modules", "_parameters", "_buffers")
_DEPTH = 4
"""Lists, dictionaries and sets inside one another that are remembered; PEFT nests two deep."""


class Guard:
    """The attributes of PEFT's modules with their contents, all `requires_grad`, and the values of chosen tensors.

    Attributes and containers are restored in place, so that whoever holds one of them sees the old contents again.
    """

    def __init__(self, survey: Survey, rewritten: Iterable[torch.Tensor] = ()) -> None:
        """Remembers the state now.

        Args:
            survey: The model.
            rewritten: Tensors of which the values are copied too, each as large as it is.
        """
        self._journal = Journal()
        self._contents: list[tuple[Any, Any]] = []
        self._known: set[int] = set()
        for module in _concerned(survey):
            slots = vars(module)
            for store in _STORES:
                self._note(slots[store], _DEPTH)
            for name, value in slots.items():
                if name not in _STORES:
                    self._note(value, 1)
            self._note(slots, _DEPTH)
        for parameter in survey.parameters:
            if parameter.is_leaf:
                self._journal.set_requires_grad(parameter, parameter.requires_grad)
        for tensor in rewritten:
            self._journal.protect_data(tensor)

    def _note(self, value: Any, depth: int) -> None:
        if type(value) not in (dict, list, set) or id(value) in self._known:
            return
        self._known.add(id(value))
        self._contents.append((value, value.copy()))
        if depth < _DEPTH:
            for inner in value.values() if type(value) is dict else value:
                self._note(inner, depth + 1)

    def restore(self) -> None:
        """Puts everything back; an interrupt meanwhile is raised when that is done."""
        interrupt: BaseException | None = None
        while self._contents:
            value, contents = self._contents[-1]
            try:
                _refill(value, contents)
                self._contents.pop()
            except KeyboardInterrupt as error:
                interrupt = error
        try:
            self._journal.rollback()
        except KeyboardInterrupt as error:
            interrupt = error
        if interrupt is not None:
            raise interrupt

    def forget(self) -> None:
        """Lets go of everything that was remembered."""
        self._contents.clear()
        self._journal.commit()


def _concerned(survey: Survey) -> Iterable[torch.nn.Module]:
    """PEFT's modules, their containers, the modules that they wrap, and who holds a config registry."""
    found: dict[int, torch.nn.Module] = {id(survey.model): survey.model}
    for holder in survey.holders:
        found[id(holder.module)] = holder.module
        inner = wrapped_module(holder.module)
        if inner is not None:
            found.update((id(module), module) for module in inner.modules())
    found.update((id(container.module), container.module) for container in survey.containers)
    found.update((id(owner), owner) for owner, _, _ in survey.registry_owners)
    return found.values()


def _refill(value: Any, contents: Any) -> None:
    if type(value) is list:
        value[:] = contents
    elif list(value) != list(contents) or (
        type(value) is dict and any(value[key] is not item for key, item in contents.items())
    ):
        value.clear()
        value.update(contents)
