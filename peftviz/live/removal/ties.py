"""Weights that several modules share, before and after, and what the model's config says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peftviz.live.removal.baseline import plain_path
from peftviz.live.snapshots.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from peftviz.live.removal.journal import Journal

TIED_BY_CONFIG = "tie_word_embeddings"
"""Field of a transformers config: loading the model ties its embeddings, and saving it leaves one of them out."""


def parameters_by_path(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Every parameter at each of its places, by its path without PEFT's own levels.

    `named_parameters` would change the model: PEFT's attention layer registers its weights anew when it is walked.
    """
    tree = Tree(model)
    return {
        plain_path(tree.paths.below(row, name)): parameter
        for row, module in enumerate(tree.modules)
        for name, parameter in vars(module)["_parameters"].items()
        if parameter is not None
    }


def lost_ties(
    before: Mapping[str, torch.nn.Parameter], after: Mapping[str, torch.nn.Parameter]
) -> Iterator[tuple[str, ...]]:
    """Groups of paths that shared one parameter and hold different ones now."""
    groups: dict[int, list[str]] = {}
    for path, parameter in before.items():
        if path in after:
            groups.setdefault(id(parameter), []).append(path)
    for paths in groups.values():
        if len({id(after[path]) for path in paths}) > 1:
            yield tuple(paths)


def correct_configs(model: torch.nn.Module, untied: tuple[str, ...], journal: Journal) -> list[str]:
    """Makes the configs of the modules around untied weights say so.

    Otherwise saving would leave one of the weights out, and loading tie them again.

    Returns:
        Path of each module whose config was changed, `""` for the model.
    """
    corrected = []
    seen: set[int] = set()
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        config: Any = vars(module).get("config")
        fields = getattr(config, "__dict__", None)
        if not isinstance(fields, dict) or id(config) in seen or fields.get(TIED_BY_CONFIG) is not True:
            continue
        if all(place.startswith(prefix) for place in untied):
            seen.add(id(config))
            journal.set_item(fields, TIED_BY_CONFIG, False)
            corrected.append(path)
    return corrected
