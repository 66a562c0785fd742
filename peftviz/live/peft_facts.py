"""All that peftviz knows about PEFT's own names. Feature detection only: no version is ever compared."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import TypeVar

Answer = TypeVar("Answer")


def once_a_class(question: Callable[[type], Answer]) -> Callable[[type], Answer]:
    """`functools.cache` for a question about a class, typed: to a type checker, classes are not hashable."""
    return functools.cache(question)


@once_a_class
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


FORWARDED = (
    "forward",
    "generate",
    "get_base_model",
    "save_pretrained",
    "disable_adapter",
    "get_model_status",
    "get_layer_status",
)
"""Methods of a `PeftModel` that look up the active adapter and fail without one."""

FIRST_ADDED = "add_adapter"
"""Method of a `PeftModel` that, on one without adapters, has to build the tuner anew."""

NAMED_BASE = ("base_model_name_or_path", "name_or_path")
"""Field of a config in which `get_peft_model` notes the base model, and the attribute of it that it notes there."""

PEFT_ARGUMENTS = ("adapter_names", "alora_offsets")
"""Arguments of `forward` and `generate` that PEFT adds; a base model does not know them."""

CONSTRUCTION_ATTRIBUTES = frozenset({"kwargs"})
"""Instance attributes that repeat a layer's constructor arguments, its own path among them: no adapter state."""

ACTIVE_OF_HANDLE = "active_adapter"
"""Attribute of `PeftModel` and of tuners: the active adapter, a string here, a list there."""

ACTIVE_OF_LAYER = "_active_adapter"
DISABLED_OF_LAYER = "_disable_adapters"
MERGED_OF_LAYER = "merged_adapters"
PROMPT_LEARNING = "is_prompt_learning"
"""Property of a config: the method adds inputs and changes no weights."""

CONFIG_FIELDS_SET = ("pretraining_tp",)
"""Fields of the base model's config that `PeftModel` and `PeftMixedModel` set when they are made, and leave so."""

MERGE_CHECK = "_check_merge_allowed"
"""Method of a tuner that raises when its model may not be merged."""

MIXIN_LOADED = "_hf_peft_config_loaded"
"""Attribute that transformers' and diffusers' mixins set while a model has adapters."""


OUTER_HANDLES = ("PeftModel", "PeftMixedModel")


def handle_kind(model: object) -> str | None:
    """`"PeftModel"`, `"PeftMixedModel"` or `"tuner"` when the object is one of PEFT's own handles, else None."""
    kind = _handle_class(type(model))
    if kind == "":
        return "tuner" if REGISTRY_ATTRIBUTES[0] in vars(model) else None
    return kind


@once_a_class
def is_handle_class(cls: type) -> bool:
    """Whether instances of a class are handles of PEFT's."""
    return bool(_handle_class(cls))


@once_a_class
def _handle_class(cls: type) -> str | None:
    """The kind that a class determines, None for a class that is not PEFT's, "" for another of PEFT's."""
    names = {base.__name__ for base in cls.__mro__ if is_peft_class(base)}
    found = [kind for kind in OUTER_HANDLES if kind in names]
    if found:
        return found[0]
    if "BaseTuner" in names:
        return "tuner"
    return "" if names else None


# Operations: what `watch` records as one step each. A name counts only where the installed package has it. ------------

OPERATION_FUNCTIONS = frozenset(
    {
        "cast_adapter_dtype",
        "convert_to_lora",
        "create_arrow_model",
        "delete_adapter",
        "get_peft_model",
        "hotswap_adapter",
        "hotswap_adapter_from_state_dict",
        "initialize_lora_eva_weights",
        "inject_adapter_in_model",
        "prepare_model_for_compiled_hotswap",
        "prepare_model_for_kbit_training",
        "replace_lora_weights_loftq",
        "rescale_adapter_scale",
        "set_adapter",
        "set_peft_model_state_dict",
        "set_requires_grad",
    }
)
"""Functions of any module of `peft`."""

HANDLE_CLASSES = frozenset({"PeftModel", "PeftMixedModel", "BaseTuner", "AdaptionPromptModel"})
"""Classes whose methods, and those of all their subclasses, are operations."""

HANDLE_OPERATIONS = frozenset(
    {
        "__init__",
        "add_adapter",
        "add_weighted_adapter",
        "delete_adapter",
        "disable_adapter",
        "disable_adapter_layers",
        "enable_adapter_layers",
        "from_pretrained",
        "inject_adapter",
        "load_adapter",
        "merge_adapter",
        "merge_and_unload",
        "resize_modules_by_rank_pattern",
        "set_adapter",
        "set_modules_to_save",
        "set_requires_grad",
        "unload",
        "unload_shadow",
        "unmerge_adapter",
    }
)

MIXIN_CLASS = "PeftAdapterMixin"
MIXIN_MODULES = ("transformers.integrations.peft", "diffusers.loaders.peft")
MIXIN_OPERATIONS = frozenset(
    {
        "add_adapter",
        "delete_adapter",
        "delete_adapters",
        "disable_adapters",
        "disable_lora",
        "enable_adapters",
        "enable_lora",
        "enable_lora_hotswap",
        "enable_peft_hotswap",
        "fuse_lora",
        "load_adapter",
        "load_lora_adapter",
        "set_adapter",
        "set_adapters",
        "unfuse_lora",
        "unload_lora",
    }
)

MERGING_OPERATIONS = frozenset({"fuse_lora", "merge_adapter", "merge_and_unload"})
"""Operations that write adapters into the weights of the base."""

BLOCK_OPERATIONS = frozenset({"disable_adapter", "rescale_adapter_scale"})
"""Operations that are context managers: they act on entry and again on exit."""

CONFIG_BOOKKEEPING = frozenset({"peft_type", "peft_version", "base_model_name_or_path"})
"""Fields of a config that its class name tells already, or that PEFT fills in by itself."""

LATE_MODULES = ("peft.utils.hotswap",)
"""Modules with operations that `import peft` does not load by itself."""


def import_peft() -> bool:
    """Imports PEFT where it is installed, so that an import made later finds its operations under watch already.

    Returns:
        Whether it can be used. A PEFT that is broken or does not fit is left for the user's own import to report.
    """
    try:
        importlib.import_module("peft")
    except Exception:
        return False
    for name in LATE_MODULES:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    return True


def operation_functions() -> dict[FunctionType, str]:
    """Each Python function that is an adapter operation in what is loaded now, with the name the user calls."""
    found: dict[FunctionType, str] = {}
    modules = {name: module for name, module in list(sys.modules.items()) if module is not None}
    handles: dict[type, None] = {}
    for module_name, module in modules.items():
        if module_name.partition(".")[0] != "peft":
            continue
        for name, value in list(vars(module).items()):
            if getattr(value, "__module__", None) != module_name:
                continue
            if isinstance(value, FunctionType) and name in OPERATION_FUNCTIONS:
                found[value] = name
            elif isinstance(value, type) and name in HANDLE_CLASSES:
                handles.update(dict.fromkeys(_with_subclasses(value)))
    for cls in handles:
        found.update(_methods(cls, HANDLE_OPERATIONS))
    for module_name in MIXIN_MODULES:
        mixin = vars(modules[module_name]).get(MIXIN_CLASS) if module_name in modules else None
        if isinstance(mixin, type):
            for cls in _with_subclasses(mixin):
                found.update(_methods(cls, MIXIN_OPERATIONS))
    return found


def _methods(cls: type, names: frozenset[str]) -> dict[FunctionType, str]:
    """The functions that a class defines itself under some names, those of class methods and plain ones alike."""
    found = {}
    for name in sorted(names & vars(cls).keys()):
        value = vars(cls)[name]
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        if isinstance(function, FunctionType):
            found[function] = name
    return found


def _with_subclasses(cls: type) -> Iterator[type]:
    yield cls
    subclass: type
    for subclass in cls.__subclasses__():
        yield from _with_subclasses(subclass)


WRAPPED_SLOTS = ("base_layer", "original_module")
"""Names under which a wrapper keeps the module it wraps."""

MODEL_SLOTS = ("base_model", "model")
"""Names under which PEFT's handles keep the model they wrap."""

REPLACED_MODULE = "model"
"""Name under which an adaption prompt keeps the attention whose place it takes."""

SWAPPED_PARENTS = "_parents"
SWAPPED_OUT = "_cached_adapters"
SWAPPED_IN = "_enabled"
"""Attributes of the tuner of adaption prompts: by adapter the modules in which it replaces a child, the replacements
that are not in the model now, and whether the active one's are."""

INNER_TUNER = "lora_model"
"""Name under which the tuner of X-LoRA keeps that of its experts, which holds the model."""

WEIGHER = "internal_xlora_classifier"
"""Name of the module of X-LoRA's tuner that weighs the experts."""

TARGETED_ATTRIBUTES = ("targeted_module_names", "targeted_parameter_names")
"""Lists of a tuner: paths of what it adapted."""

DECLARED_LAYERS = "adapter_layer_names"
"""Class attribute that declares which containers hold the trainable weights of adapters."""

DECLARED_FROZEN = "frozen_peft_weight_names"
"""Instance attribute: adapter to the containers whose weights stay frozen."""

MENTIONED_ADAPTERS = "_adapters"
"""Set of a wrapper: the adapters it serves."""

MODULE_NAMES_OF_HANDLE = "modules_to_save"
"""Attribute of older `PeftModel`s: names of the modules that any adapter saves as a whole, or None."""

NOT_ADAPTER_NAMES = CONSTRUCTION_ATTRIBUTES | {
    *TARGETED_ATTRIBUTES,
    *REGISTRY_ATTRIBUTES,
    DECLARED_LAYERS,
    MODULE_NAMES_OF_HANDLE,
    "other_param_names",
    "special_peft_forward_args",
}
"""Instance attributes of PEFT's whose strings name modules, attributes or arguments: never adapters."""


@once_a_class
def is_tuner_layer(cls: type) -> bool:
    """Whether a class is a layer of a tuner: one that wraps a module and holds adapters for it."""
    return any(base.__name__ == "BaseTunerLayer" and is_peft_class(base) for base in cls.__mro__)


@once_a_class
def is_auxiliary_wrapper(cls: type) -> bool:
    """Whether a class wraps a module to train copies of it or tokens of it, beside the tuner."""
    names = {base.__name__ for base in cls.__mro__ if is_peft_class(base)}
    return not names.isdisjoint({"AuxiliaryTrainingWrapper", "ModulesToSaveWrapper"})


@once_a_class
def accepts_no_active_adapter(cls: type) -> bool:
    """Whether a wrapper of this class may have an empty list of active adapters; older ones fail on it."""
    return any("check_set_adapter" in vars(base) for base in cls.__mro__)


@once_a_class
def is_config_class(cls: type) -> bool:
    """Whether a class describes an adapter; its fields are the user's, not state of the model."""
    return any(base.__name__ == "PeftConfigMixin" and is_peft_class(base) for base in cls.__mro__)


def experts_of(config: object) -> tuple[str, ...]:
    """Adapters that another one is made of, by its config: the experts of X-LoRA."""
    if not any(base.__name__ == "XLoraConfig" for base in type(config).__mro__):
        return ()
    return tuple(str(name) for name in vars(config).get("adapters") or ())


CHANGING_INITIALISERS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""First words of `init_lora_weights` that write into the base weights."""


def changes_of_base(config: object) -> dict[str, str]:
    """What an adapter does to the base model for good, by its config.

    Returns:
        The argument in words, by what it changes: `"weights"`, `"biases"` or `"layers"`.
    """
    fields = vars(config) if hasattr(config, "__dict__") else {}
    found = {}
    initialiser, bias = fields.get("init_lora_weights"), fields.get("bias")
    if isinstance(initialiser, str) and initialiser.startswith(CHANGING_INITIALISERS):
        found["weights"] = f"init_lora_weights={initialiser!r}"
    if fields.get("kasa_config"):
        found["weights"] = "kasa_config"
    if isinstance(bias, str) and bias != "none":
        found["biases"] = f"bias={bias!r}"
    if fields.get("layer_replication"):
        found["layers"] = "layer_replication"
    return found


def trains_biases(config: object) -> bool:
    """Whether an adapter trains biases of the base model in place."""
    return (vars(config) if hasattr(config, "__dict__") else {}).get("bias") not in (None, False, "none")


def saved_modules(config: object) -> frozenset[str]:
    """Names of the modules that an adapter trains and saves as a whole."""
    return frozenset((vars(config) if hasattr(config, "__dict__") else {}).get(MODULE_NAMES_OF_HANDLE) or ())


def is_for_inference(config: object) -> bool:
    """Whether an adapter stays frozen when it becomes active."""
    return bool((vars(config) if hasattr(config, "__dict__") else {}).get("inference_mode"))


def is_peft_function(function: object) -> bool:
    """Whether a function, or the function of a partial or method, is defined in PEFT."""
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] == "peft"


def set_auxiliary_adapter(model: object, names: str | list[str]) -> None:
    """PEFT's own switching of the wrappers beside the tuner, for models that have no handle of PEFT's."""
    other = importlib.import_module("peft.utils.other")
    other._set_adapter(model, names)
