"""A journal of mutations: everything done through it can be undone, object for object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping, Sequence

MISSING = object()

Edit = tuple["Sequence[dict[Any, Any]]", Any, Any]
"""Dictionaries, a key, and its value in each of them from then on; `MISSING` takes it away."""


class Journal:
    """Carries out mutations and remembers how to undo each.

    The record is written before the mutation and undoing is idempotent, so an interrupt between the two is harmless.
    Attributes, submodules and registries are all dictionaries (`vars(module)`, `module._modules`), so setting and
    deleting an item of a dictionary covers nearly everything.
    """

    def __init__(self) -> None:
        self._records: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def __len__(self) -> int:
        return len(self._records)

    def checkpoint(self) -> None:
        """Called before each mutation; tests override it to fail at a chosen one."""

    def set_item(self, mapping: MutableMapping[Any, Any], key: Any, value: Any) -> None:
        """`mapping[key] = value`; an existing key keeps its place."""
        self._records.append((_restore_item, (mapping, key, mapping.get(key, MISSING))))
        self.checkpoint()
        mapping[key] = value

    def del_item_of_each(self, mappings: Sequence[dict[Any, Any]], key: Any) -> None:
        """`del mapping[key]` of many dictionaries, noted as one; undoing puts each back at its place in the order."""
        self._records.append((_restore_each, (mappings, [mapping.copy() for mapping in mappings])))
        checkpoint = self.checkpoint
        for mapping in mappings:
            checkpoint()
            del mapping[key]

    def edit(self, edits: Iterable[Edit]) -> None:
        """Carries out edits of dictionaries in order."""
        for mappings, key, value in edits:
            if value is MISSING:
                self.del_item_of_each(mappings, key)
            else:
                for mapping in mappings:
                    self.set_item(mapping, key, value)

    def set_requires_grad(self, tensor: torch.Tensor, value: bool) -> None:
        """Sets the flag of a leaf tensor."""
        self._records.append((_set_requires_grad, (tensor, tensor.requires_grad)))
        self.checkpoint()
        _set_requires_grad(tensor, value)

    def protect_data(self, tensor: torch.Tensor) -> None:
        """Copies the values of a tensor that foreign code is about to change; undoing restores storage and values."""
        with torch.no_grad():
            self._records.append((_restore_data, (tensor, tensor.data, tensor.detach().clone())))
        self.checkpoint()

    def protect_items(self, mapping: MutableMapping[Any, Any]) -> None:
        """Notes all items of a dictionary that foreign code is about to change; undoing restores items and order."""
        self._records.append((_restore_exactly, (mapping, list(mapping.items()))))
        self.checkpoint()

    def set_data(self, tensor: torch.Tensor, data: torch.Tensor) -> None:
        """`tensor.data = data`."""
        self._records.append((_restore_data, (tensor, tensor.data, None)))
        self.checkpoint()
        tensor.data = data

    def call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Runs foreign code whose effects were protected before."""
        self.checkpoint()
        return function(*arguments, **keywords)

    def rollback(self) -> None:
        """Undoes everything, newest first; an interrupt meanwhile is raised when all is undone."""
        interrupt: BaseException | None = None
        while self._records:
            undo, arguments = self._records[-1]
            try:
                undo(*arguments)
                self._records.pop()
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def commit(self) -> None:
        """Forgets how to undo, and with it everything that was removed."""
        self._records.clear()


def _restore_item(mapping: MutableMapping[Any, Any], key: Any, value: Any) -> None:
    if value is MISSING:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _restore_all(mapping: MutableMapping[Any, Any], items: list[tuple[Any, Any]]) -> None:
    """Puts the items back in their order, without a moment at which an untouched one is missing."""
    for key, value in items:
        mapping.pop(key, None)
        mapping[key] = value


def _restore_each(mappings: Sequence[dict[Any, Any]], copies: Sequence[dict[Any, Any]]) -> None:
    for mapping, copy in zip(mappings, copies, strict=True):
        _restore_all(mapping, list(copy.items()))


def _restore_exactly(mapping: MutableMapping[Any, Any], items: list[tuple[Any, Any]]) -> None:
    _restore_all(mapping, items)
    known = {key for key, _ in items}
    for key in [key for key in mapping if key not in known]:
        del mapping[key]


def _set_requires_grad(tensor: torch.Tensor, value: bool) -> None:
    """PyTorch lets a tensor that was made in inference mode have the flag in that mode only."""
    with torch.inference_mode(torch.is_inference_mode_enabled() or tensor.is_inference()):
        tensor.requires_grad = value


def _restore_data(tensor: torch.Tensor, data: torch.Tensor, values: torch.Tensor | None) -> None:
    with torch.no_grad():
        if values is not None:
            data.copy_(values)
        tensor.data = data
