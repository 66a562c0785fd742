"""All that peftviz knows about PEFT's own names. Feature detection only: no version is ever compared."""

from __future__ import annotations

import functools


@functools.cache
def is_peft_class(cls: type) -> bool:
    """Whether a class is PEFT's own or derives from one of PEFT's, without importing peft."""
    return any(base.__module__.partition(".")[0] == "peft" for base in cls.__mro__)

REGISTRY_ATTRIBUTES = ("peft_config", "_peft_config")
"""Instance attributes that hold the adapter configs by name: of tuners and injected models, of `PeftModel`."""

SAVED_CONTAINER = "modules_to_save"
"""Name of the container in which a wrapper keeps the trained copies of a whole module."""


def is_buffer_dict(cls: type) -> bool:
    """Whether a class is PEFT's counterpart of `ParameterDict` for buffers."""
    return any(base.__name__ == "BufferDict" and is_peft_class(base) for base in cls.__mro__)

CONSTRUCTION_ATTRIBUTES = frozenset({"kwargs"})
"""Instance attributes that repeat a layer's constructor arguments, its own path among them: no adapter state."""

ACTIVE_OF_HANDLE = "active_adapter"
"""Attribute of `PeftModel` and of tuners: the active adapter, a string here, a list there."""

ACTIVE_OF_LAYER = "_active_adapter"
DISABLED_OF_LAYER = "_disable_adapters"
MERGED_OF_LAYER = "merged_adapters"
MIXIN_LOADED = "_hf_peft_config_loaded"
"""Attribute that transformers' and diffusers' mixins set while a model has adapters."""


def handle_kind(model: object) -> str | None:
    """`"PeftModel"`, `"PeftMixedModel"` or `"tuner"` when the object is one of PEFT's own handles, else None."""
    names = {base.__name__ for base in type(model).__mro__ if is_peft_class(base)}
    for kind in ("PeftModel", "PeftMixedModel"):
        if kind in names:
            return kind
    return "tuner" if "BaseTuner" in names or REGISTRY_ATTRIBUTES[0] in vars(model) and names else None
