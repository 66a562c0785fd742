"""`capture`: reads a model into a snapshot and leaves it bit for bit as it was."""

from __future__ import annotations

import contextlib
import datetime
import gc
import platform
import sys
from collections.abc import Iterator

import torch

from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import ModuleTable, TensorTable, compact
from peftviz.errors import ModelError
from peftviz.live.snapshots.adapters import read_adapters
from peftviz.live.snapshots.base_model import read_base
from peftviz.live.snapshots.identity import REGISTRY
from peftviz.live.snapshots.module_state import qualified_name
from peftviz.live.snapshots.roles import assign_roles
from peftviz.live.snapshots.walk import Walk, walk

VALUES = ("off", "sample", "full")


def capture(model: torch.nn.Module, *, label: str = "", values: str = "sample") -> Snapshot:
    """Takes a snapshot of a model: module tree, tensors, sharing, adapters.

    Nothing is run and nothing is changed: no forward, no random number, no hook, no flag, no gradient.

    Args:
        model: Any `torch.nn.Module`, with adapters or without.
        label: What to call this moment.
        values: `"off"` records no tensor values, `"sample"` a hash of up to 64 elements of each tensor,
            `"full"` a hash of all of them.

    Returns:
        The snapshot. It holds no torch object and keeps none alive.

    Raises:
        ModelError: `model` is no `torch.nn.Module`.
        ValueError: `values` is none of the three words.
    """
    check_model(model)
    if values not in VALUES:
        raise ValueError(f"values must be one of {', '.join(map(repr, VALUES))}, not {values!r}")
    return snapshot_of(record(model, values=values), label=label)


def record(model: torch.nn.Module, *, values: str = "sample", keep: bool = False) -> Walk:
    """Walks a model once, for a snapshot and, where its objects are kept, for a survey of the same moment."""
    with paused_garbage_collection():
        return walk(model, REGISTRY, values=values, keep=keep)


def snapshot_of(recorded: Walk, *, label: str) -> Snapshot:
    """The snapshot of a model as it was recorded; it must not have changed since."""
    registry_rows = sorted(recorded.registries, key=lambda entry: entry[0])
    role, adapter, tensor_role, tensor_adapter, adapter_names = assign_roles(
        recorded, [row for row, _ in registry_rows]
    )
    tensors = recorded.tensors
    snapshot = Snapshot(
        modules=ModuleTable(
            parent=compact(recorded.parent, signed=True),
            name=compact(recorded.name),
            type=compact(recorded.cls),
            flags=compact(recorded.flags),
            role=compact(role),
            adapter=compact(adapter),
            state=compact(recorded.state),
            hooks=compact(recorded.hooks),
            identity=compact(recorded.identity, signed=True),
            alias_rows=compact(recorded.alias_rows, signed=True),
            alias_targets=compact(recorded.alias_targets, signed=True),
        ),
        tensors=TensorTable(
            owner=compact(tensors.owner, signed=True),
            name=compact(tensors.name),
            spec=compact(tensors.spec),
            flags=compact(tensors.flags),
            role=compact(tensor_role),
            adapter=compact(tensor_adapter),
            version=compact(tensors.version),
            identity=compact(tensors.identity, signed=True),
            storage=compact(tensors.storage, signed=True),
            fingerprint=compact(tensors.fingerprint),
            odd_storage_rows=compact(tensors.odd_storage_rows, signed=True),
            odd_storage_nbytes=compact(tensors.odd_storage_nbytes, signed=True),
        ),
        names=tuple(recorded.names),
        types=tuple(qualified_name(cls) for cls in recorded.types),
        specs=tensors.specs,
        adapter_names=tuple(adapter_names),
        states=tuple(recorded.states.texts),
        hook_lists=tuple(recorded.hook_lists),
        label=label,
        environment=environment(),
        base=read_base(recorded.model),
        scope=REGISTRY,
        values=recorded.values,
    )
    return with_adapters(snapshot, recorded, registry_rows)


@contextlib.contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Spares the collector's passes over a large model, which the walk's own small objects would trigger."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def with_adapters(snapshot: Snapshot, recorded: Walk, registry_rows: list[tuple[int, torch.nn.Module]]) -> Snapshot:
    """Completes a snapshot with what the model says of its adapters."""
    snapshot.adapters, snapshot.adapter_state = read_adapters(
        recorded.model,
        [(snapshot.module_path(row), module) for row, module in registry_rows],
        recorded.states.texts,
        has_layers=any(name.partition(".")[0] == "peft" for name in snapshot.types),
    )
    return snapshot


def check_model(model: object) -> None:
    """Raises `ModelError` unless the object is a `torch.nn.Module`."""
    if isinstance(model, torch.nn.Module):
        return
    hint = "Pass the model object itself."
    if isinstance(model, type):
        hint = f"Pass an instance: {model.__name__}(...), not the class."
    elif callable(model):
        hint = "Call the function that builds the model and pass what it returns."
    raise ModelError(
        f"peftviz reads torch.nn.Module objects, not {type(model).__name__!r}.", where="argument 'model'", hint=hint
    )


def environment() -> dict[str, str]:
    """Versions of what the model runs on, and the time, in UTC; packages that are not imported are left out."""
    found = {"python": platform.python_version()}
    for package in ("torch", "peft", "transformers", "diffusers"):
        module = sys.modules.get(package)
        version = getattr(module, "__version__", None)
        if isinstance(version, str):
            found[package] = str(version)
    found["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return found
