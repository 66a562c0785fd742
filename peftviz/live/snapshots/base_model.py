"""What the model inside PEFT's handles says of itself: its config, the names of its attributes, its ties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peftviz.core.rows import BaseModel
from peftviz.live.peft_facts import INNER_TUNER, MODEL_SLOTS, handle_kind
from peftviz.live.snapshots.module_state import MODULE_SLOTS, describe

if TYPE_CHECKING:
    import torch

ENDS = ("get_input_embeddings", "get_output_embeddings")
"""Methods by which a transformers model names the two modules that may have one weight."""

WHICH_TIED = "_tied_weights_keys"
"""Attribute of a transformers model class that can tie weights: their names."""

_MISSING = object()

PACKAGE_VERSION = "transformers_version"


def base_of(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside PEFT's handles; the model itself when it is none of them."""
    while handle_kind(model) is not None:
        children = vars(model)["_modules"]
        inner = next((children[slot] for slot in (*MODEL_SLOTS, INNER_TUNER) if children.get(slot) is not None), None)
        if inner is None:
            return model
        model = inner
    return model


def read_base(model: torch.nn.Module) -> BaseModel:
    """Reads the facts about the base of a model; what a model does not say is left empty."""
    base = base_of(model)
    attributes = vars(base)
    values = _values(attributes.get("config"))
    return BaseModel(
        config=describe({key: value for key, value in values.items() if key != PACKAGE_VERSION and key[:1] != "_"}),
        attributes=tuple(sorted(name for name in attributes if name not in MODULE_SLOTS and _own(base, name))),
        tied=_tied(base, values),
    )


def _own(base: torch.nn.Module, name: str) -> bool:
    """Whether an attribute says something else than the class does for all its instances."""
    of_class = getattr(type(base), name, _MISSING)
    return of_class is _MISSING or of_class is not vars(base)[name]


def config_values(model: torch.nn.Module) -> dict[str, Any]:
    """The values of the config of the base themselves: what is written there is in the config."""
    return _values(vars(base_of(model)).get("config"))


def _values(config: object) -> dict[str, Any]:
    """The attributes of a config, empty when there is none."""
    return vars(config) if hasattr(config, "__dict__") and not callable(config) else {}


def _tied(base: torch.nn.Module, config: Mapping[str, Any]) -> tuple[str, ...]:
    if config.get("tie_word_embeddings") is not True or not getattr(type(base), WHICH_TIED, None):
        return ()
    try:
        ends = [getattr(type(base), name)(base) for name in ENDS]
    except Exception:  # a model of its own kind: it does not say
        return ()
    found = [_path_of(base, end) for end in ends]
    return tuple(path for path in found if path is not None) if None not in found else ()


def _path_of(base: torch.nn.Module, module: object) -> str | None:
    """Path of a module near the root; breadth first, since embeddings and heads lie outside the layers."""
    level = [("", base)]
    while level:
        below = []
        for path, parent in level:
            for name, child in vars(parent)["_modules"].items():
                at = f"{path}.{name}" if path else name
                if child is module:
                    return at
                if child is not None and not name.isdigit():
                    below.append((at, child))
        level = below
    return None
