"""Builds the models of the cases through each of PEFT's ways in."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable

import torch
from peft import PeftConfig, get_peft_model, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import _set_adapter

from tests.live.zoo.cases import Case
from tests.live.zoo.models import output


class Handle:
    """A model with adapters, reached through one of PEFT's ways in."""

    def __init__(self, way: str, base: torch.nn.Module) -> None:
        self.way = way
        self.base = base
        self.model = base
        self.names: list[str] = []

    def add(self, name: str, config: PeftConfig, seed: int) -> None:
        torch.manual_seed(seed)
        if self.way == "peft":
            if not self.names:
                self.model = get_peft_model(self.base, config, adapter_name=name)
            else:
                self.model.add_adapter(name, config)
        elif self.way == "inject":
            self.model = inject_adapter_in_model(config, self.base, adapter_name=name)
        else:
            self.model.add_adapter(config, adapter_name=name)
        self.names.append(name)
        torch.manual_seed(seed)
        perturb(self.model, name)
        self.model.eval()

    def activate(self, name: str) -> None:
        if self.way == "peft":
            self.model.set_adapter(name)
            return
        for module in self.model.modules():
            if isinstance(module, BaseTunerLayer):
                module.set_adapter(name)
        activate_wrappers(self.model, name)  # transformers' own set_adapter leaves wrappers of tokens out


def perturb(model: torch.nn.Module, name: str) -> None:
    """Gives an adapter weights that make a difference: a fresh one of most methods changes nothing."""
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleDict) and name in module:
            parameters = list(module[name].parameters())
        elif isinstance(module, torch.nn.ParameterDict) and name in module:
            parameters = [module[name]]
        else:
            continue
        for parameter in parameters:
            if not parameter.is_floating_point() or parameter.numel() == 1:  # ranks and the like are single numbers
                continue
            with torch.no_grad():
                parameter += 0.1 * torch.rand(parameter.shape)


def activate_wrappers(model: torch.nn.Module, name: str) -> None:
    try:
        _set_adapter(model, name)
    except TypeError:  # PEFT 0.15.1 indexes with a list on wrappers that were never switched
        for module in model.modules():
            if name in getattr(module, "_adapters", ()):
                module.set_adapter(name)


@functools.cache
def has_mixin(build: Callable[[], torch.nn.Module]) -> bool:
    """Whether a base model is one of transformers'."""
    return hasattr(build(), "_hf_peft_config_loaded")


def adapter_alone(case: Case, way: str) -> Handle:
    """The case's base with adapter a alone, active."""
    handle = Handle(way, case.build())
    handle.add("a", case.first(), seed=1)
    handle.activate("a")
    return handle


def both_adapters(case: Case, way: str) -> Handle:
    """The case's base with adapters a and b, a active."""
    handle = adapter_alone(case, way)
    handle.add("b", case.second(), seed=2)
    handle.activate("a")
    return handle


def answer(handle: Handle, case: Case) -> torch.Tensor:
    """What the model of a case answers."""
    return output(handle.model, **(case.inputs if handle.way == "peft" else {}))


def tensors_of(model: torch.nn.Module, name: str) -> list[weakref.ref[torch.Tensor]]:
    """Tensors that an adapter has for itself: VeRA and its kin give one projection to all."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    own = {id(tensor): tensor for path, tensor in named if name in path.split(".")}
    others = {id(tensor) for path, tensor in named if name not in path.split(".")}
    return [weakref.ref(tensor) for key, tensor in own.items() if key not in others]
