"""Measures how far merging adapters and taking them out again moves the weights of the base."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from peftviz.core.timeline import Drift
from peftviz.live.peft_facts import MERGED_OF_LAYER, WRAPPED_SLOTS, is_tuner_layer

COMPARED = 256
"""Most elements of a weight that are compared, spread evenly over it."""


class MergeGauge:
    """Remembers some elements of each weight before adapters are merged into it, and compares them afterwards.

    It holds copies of those elements, never a tensor of the model.
    """

    def __init__(self) -> None:
        self._before: dict[str, torch.Tensor] = {}
        self._scale: dict[str, float] = {}

    def before(self, model: torch.nn.Module) -> None:
        """Notes the weights of the layers that have nothing merged yet: before an operation that may merge."""
        for path, layer in _layers(model):
            if not vars(layer)[MERGED_OF_LAYER]:
                self._before.update({name: _elements(weight) for name, weight in _weights(path, layer)})

    def after(self, model: torch.nn.Module) -> tuple[Drift, ...]:
        """Compares the weights of the layers that have nothing merged any more, and forgets what it noted of them.

        Of those that have it notes how large their values are now: rounding goes by that.

        Returns:
            Those that are not what they were, in the order of the tree.
        """
        if not self._before:
            return ()
        found = []
        for path, layer in _layers(model):
            merged = bool(vars(layer)[MERGED_OF_LAYER])
            for name, weight in _weights(path, layer):
                if name not in self._before:
                    continue
                now = _elements(weight)
                scale = max(self._scale.get(name, 0.0), _largest(now))
                if merged:
                    self._scale[name] = scale
                    continue
                noted = self._before.pop(name)
                self._scale.pop(name, None)
                if noted.shape == now.shape and (difference := _largest(now - noted)) > 0:
                    found.append(Drift(name, difference, max(scale, _largest(noted)), len(now)))
        return tuple(found)


def _layers(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The layers that can merge adapters, with their paths."""
    for path, module in model.named_modules():
        if is_tuner_layer(type(module)) and MERGED_OF_LAYER in vars(module):
            yield path, module


def _weights(path: str, layer: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The floating-point parameters of what a layer wraps, layers inside it left to themselves."""
    for slot in WRAPPED_SLOTS:
        wrapped = vars(layer)["_modules"].get(slot)
        if wrapped is None or is_tuner_layer(type(wrapped)):
            continue
        for name, parameter in wrapped.named_parameters():
            if parameter.is_floating_point() and not parameter.is_meta:
                yield ".".join(part for part in (path, slot, name) if part), parameter


def _largest(values: torch.Tensor) -> float:
    """The largest absolute value, 0 for no values; a value that is no number counts for nothing."""
    return float(values.abs().nan_to_num(0.0).max()) if len(values) else 0.0


def _elements(weight: torch.Tensor) -> torch.Tensor:
    """Up to `COMPARED` elements, in double precision on the CPU."""
    flat = weight.detach().flatten()
    return flat[:: max(1, -(-len(flat) // COMPARED))].to("cpu", torch.float64, copy=True)
