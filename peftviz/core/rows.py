"""Small frozen views of one row each, handed out on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from peftviz.core.tables import Role


@dataclass(frozen=True)
class ModuleRow:
    """One module of a snapshot.

    Attributes:
        row: Row in `snapshot.modules`.
        path: Dotted path from the model, `""` for the model itself.
        name: Last part of the path.
        type: Qualified class name.
        training: Whether the module is in training mode.
        role: What the module is for.
        adapter: The adapter it belongs to, or None.
        alias_of: Path of the first occurrence when this is a further one, else None.
        hooks: The registered hooks, as `"forward_pre:package.function"`.
        state: Instance attributes of a module of PEFT's, as JSON values.
        identity: Serial number of the object within `Snapshot.scope`.
    """

    row: int
    path: str
    name: str
    type: str
    training: bool
    role: Role
    adapter: str | None
    alias_of: str | None
    hooks: tuple[str, ...]
    state: Mapping[str, Any] = field(repr=False)
    identity: int = field(repr=False, compare=False)

    @property
    def class_name(self) -> str:
        """The class name without its module."""
        return self.type.rpartition(".")[2]


@dataclass(frozen=True)
class TensorRow:
    """One parameter or buffer of a snapshot.

    Attributes:
        row: Row in `snapshot.tensors`.
        path: Dotted path from the model.
        owner: Path of the module that holds it.
        name: Attribute name at the owner.
        kind: `"parameter"` or `"buffer"`.
        shape: Sizes of the dimensions.
        dtype: As in `"float32"`.
        device: As in `"cpu"`.
        requires_grad: Whether gradients are recorded.
        persistent: Whether it is part of the state dict (always true for parameters).
        numel: Number of elements.
        nbytes: Bytes of the elements.
        type: Qualified class name.
        storage_nbytes: Bytes of the storage behind the tensor, or of the tensor where its storage is not known.
        storage: First row that shares its storage.
        shared_with: Paths of the other tensors in the same storage.
        version: In-place version counter.
        fingerprint: Hash of the values as 16 hex digits, or None when not taken.
        role: What the tensor is for.
        adapter: The adapter it belongs to, or None.
        identity: Serial number of the object within `Snapshot.scope`.
    """

    row: int
    path: str
    owner: str
    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    requires_grad: bool
    persistent: bool
    numel: int
    nbytes: int
    type: str
    storage_nbytes: int
    storage: int
    shared_with: tuple[str, ...]
    version: int
    fingerprint: str | None
    role: Role
    adapter: str | None
    identity: int = field(repr=False, compare=False)


@dataclass(frozen=True)
class Adapter:
    """One adapter that a config registry of the model names.

    Attributes:
        name: Its name.
        method: PEFT's type, as in `"LORA"`.
        config: The config as JSON values.
        active: Whether the model reports it as active.
        merged: Whether any layer holds it merged into its base weights.
        inference: The config's `inference_mode`.
    """

    name: str
    method: str
    config: Mapping[str, Any] = field(repr=False)
    active: bool = False
    merged: bool = False
    inference: bool = False


@dataclass(frozen=True)
class AdapterState:
    """What the model says of its adapters as a whole.

    Attributes:
        handle: `"PeftModel"`, `"PeftMixedModel"`, `"transformers"`, `"injected"` or `"plain"`.
        tuner: Class name of the tuner, as in `"LoraModel"`, or None.
        active: Names that the handle reports as active.
        enabled: False when the layers are disabled, None when there is no adapter layer.
        registries: Path of each object with a `peft_config`, and the names it lists.
    """

    handle: str = "plain"
    tuner: str | None = None
    active: tuple[str, ...] = ()
    enabled: bool | None = None
    registries: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class BaseModel:
    """What the model inside PEFT's handles says of itself.

    Attributes:
        config: Plain values of its config, private ones and the package version left out; empty when it has none.
        attributes: Names of its instance attributes besides those that every module has, sorted.
        tied: Paths, from the base model, of the input embeddings and of the output layer when its class and config say
            that both have one weight; else empty.
    """

    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    attributes: tuple[str, ...] = ()
    tied: tuple[str, ...] = ()


@dataclass(frozen=True)
class OptimizerParameter:
    """One parameter that an optimizer steps on.

    Attributes:
        identity: Serial number of the tensor, as in the tables of a snapshot of the same process.
        name: The name that the optimizer was given for it, or None.
        shape: Sizes of its dimensions.
        nbytes: Bytes of its values.
        state_nbytes: Bytes of the tensors that the optimizer keeps for it, such as moments.
    """

    identity: int
    name: str | None
    shape: tuple[int, ...]
    nbytes: int
    state_nbytes: int


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer.

    Attributes:
        kind: Its class name, as in `"AdamW"`.
        parameters: Its parameters, group by group.
    """

    kind: str
    parameters: tuple[OptimizerParameter, ...]


@dataclass(frozen=True)
class Totals:
    """Sums over a snapshot; tensors in one storage are counted once.

    Attributes:
        modules: Number of distinct modules.
        parameters: Elements of all parameters.
        trainable: Elements of the parameters that require gradients.
        bytes: Bytes of the storages of all parameters and buffers.
    """

    modules: int
    parameters: int
    trainable: int
    bytes: int
