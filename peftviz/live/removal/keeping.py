"""Trained copies that stay in the model, in the place of the modules that they are copies of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftviz.live.removal.survey import Survey, wrapped_module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from peftviz.live.removal.sweep import Edits


def take_over(original: torch.nn.Module, copy: torch.nn.Module, edits: Edits) -> bool:
    """Notes the edits that put a copy's tensors into the original module, which others may hold.

    Returns:
        Whether the two are built alike; if not, nothing is noted and the copy itself has to take the place.
    """
    pairs = [(original, copy)]
    for left, right in pairs:
        mine, theirs = vars(left), vars(right)
        if any(mine[slot].keys() != theirs[slot].keys() for slot in ("_modules", "_parameters", "_buffers")):
            return False
        pairs += [
            (child, theirs["_modules"][name])
            for name, child in mine["_modules"].items()
            if child is not None and theirs["_modules"][name] is not None
        ]
    for left, right in pairs:
        for slot in ("_parameters", "_buffers"):
            for name, tensor in vars(right)[slot].items():
                edits.set(vars(left)[slot], name, tensor)
    return True


def replaced(survey: Survey, kept: Mapping[int, torch.nn.Module]) -> Iterator[tuple[int, str, torch.Tensor]]:
    """Tensors of the originals whose place a copy takes, and that live nowhere else: the wrapper, path, tensor."""
    if not kept:
        return
    originals = [(place, wrapped_module(place.module)) for place in survey.places if id(place.module) in kept]
    going = {id(module) for _, original in originals if original is not None for module in original.modules()}
    elsewhere = {
        id(tensor)
        for module in survey.tree.modules
        if id(module) not in going
        for tensor in (*vars(module)["_parameters"].values(), *vars(module)["_buffers"].values())
    }
    rows = {id(holder.module): holder.row for holder in survey.holders}
    seen: set[int] = set()
    for place, original in originals:
        assert original is not None
        for path, tensor in (*original.named_parameters(), *original.named_buffers()):
            if id(tensor) not in elsewhere and id(tensor) not in seen:
                seen.add(id(tensor))
                yield rows[id(place.module)], f"original_module.{path}", tensor


def plain_tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Tensors of a module that are left when the adapters inside it are gone."""
    base = wrapped_module(module) or module
    yield from base.parameters()
    yield from base.buffers()
