"""A stand-in for a model: plain objects that become a snapshot the way a captured model does, without torch."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from peftviz.core.rows import Adapter, AdapterState, BaseModel
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import ModuleFlag, ModuleTable, Role, TensorFlag, TensorSpec, TensorTable, compact

ITEMSIZE = {"float32": 4, "bfloat16": 2, "int8": 1}
PARAMETER = "torch.nn.parameter.Parameter"


@dataclass(eq=False)
class Storage:
    """Memory that tensors lie in; as large as the first of them when `nbytes` is None."""

    nbytes: int | None = None


@dataclass(eq=False)
class Tensor:
    """One tensor object."""

    serial: int
    shape: tuple[int, ...] = (2, 3)
    dtype: str = "float32"
    device: str = "cpu"
    type: str = PARAMETER
    requires_grad: bool = True
    version: int = 0
    fingerprint: int = 0
    storage: Storage = field(default_factory=Storage)

    @property
    def spec(self) -> TensorSpec:
        numel = int(np.prod(self.shape, dtype=np.int64))
        return TensorSpec(self.shape, self.dtype, self.device, numel, numel * ITEMSIZE[self.dtype], self.type)


@dataclass
class Slot:
    """A tensor as a module holds it."""

    tensor: Tensor
    buffer: bool = False
    persistent: bool = True
    role: Role = Role.BASE
    adapter: str = ""


@dataclass(eq=False)
class Node:
    """One module object."""

    serial: int
    type: str = "torch.nn.modules.container.Module"
    training: bool = False
    role: Role = Role.BASE
    adapter: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)
    children: dict[str, Node] = field(default_factory=dict)
    tensors: dict[str, Slot] = field(default_factory=dict)


@dataclass
class Model:
    """A root, what is said of its adapters, and the next serial number of its process."""

    root: Node
    next_serial: int = 1
    adapters: tuple[Adapter, ...] = ()
    adapter_state: AdapterState = field(default_factory=AdapterState)
    base: BaseModel = field(default_factory=BaseModel)
    values: str = "sample"
    label: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    scope: object = None

    def serial(self) -> int:
        self.next_serial += 1
        return self.next_serial - 1

    def nodes(self) -> list[Node]:
        """Every module object once, in preorder."""
        return [node for _, _, _, node, first in self.places() if first is None]

    def slots(self) -> list[Slot]:
        """Every slot for a tensor, in preorder."""
        return [slot for node in self.nodes() for slot in node.tensors.values()]

    def places(self) -> Iterator[tuple[int, int, str, Node, int | None]]:
        """Row, parent row, name, module and, for a further occurrence, the row of the first, in preorder."""
        first: dict[int, int] = {}
        rows = itertools.count()

        def visit(parent: int, name: str, node: Node) -> Iterator[tuple[int, int, str, Node, int | None]]:
            row = next(rows)
            if id(node) in first:
                yield row, parent, name, node, first[id(node)]
                return
            first[id(node)] = row
            yield row, parent, name, node, None
            for child_name, child in node.children.items():
                yield from visit(row, child_name, child)

        yield from visit(-1, "", self.root)

    def copy(self) -> Model:
        """Another state of the same objects: serial numbers and scope stay."""
        scope, self.scope = self.scope, None
        other = copy.deepcopy(self)
        self.scope = other.scope = scope
        return other

    def snapshot(self) -> Snapshot:
        """What a capture of this model gives."""
        return _snapshot(self)

    def elsewhere(self, *, step: int = 7) -> Model:
        """The same model in another process: other serial numbers, another scope."""
        other = self.copy()
        other.scope = object()
        other.next_serial = 5
        renamed: dict[int, int] = {}
        for node in reversed(other.nodes()):
            node.serial = other.serial()
            other.next_serial += step
            for slot in node.tensors.values():
                tensor = slot.tensor
                if id(tensor) not in renamed:
                    renamed[id(tensor)] = tensor.serial = other.serial()
        return other


class _Codes(dict[Any, int]):
    def __missing__(self, key: Any) -> int:
        self[key] = len(self)
        return self[key]


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _snapshot(model: Model) -> Snapshot:
    names, types, specs = _Codes({"": 0}), _Codes(), _Codes()
    adapters, states, hooks = _Codes({"": 0}), _Codes({"": 0}), _Codes({"": 0})
    modules: dict[str, list[int]] = {name: [] for name in ModuleTable.__dataclass_fields__}
    tensors: dict[str, list[int]] = {name: [] for name in TensorTable.__dataclass_fields__}
    leaders: dict[int, int] = {}
    for row, parent, name, node, first in model.places():
        peft = node.type.startswith("peft.")
        modules["parent"].append(parent)
        modules["name"].append(names[name])
        modules["type"].append(types[node.type])
        modules["flags"].append((ModuleFlag.TRAINING if node.training else 0) | (ModuleFlag.PEFT_CLASS if peft else 0))
        modules["role"].append(node.role)
        modules["adapter"].append(adapters[node.adapter])
        modules["state"].append(states[canonical(node.state)] if node.state else 0)
        modules["hooks"].append(hooks[json.dumps(node.hooks)] if node.hooks else 0)
        modules["identity"].append(node.serial)
        if first is not None:
            modules["alias_rows"].append(row)
            modules["alias_targets"].append(first)
            continue
        for tensor_name, slot in node.tensors.items():
            tensor, position = slot.tensor, len(tensors["owner"])
            leader = leaders.setdefault(id(tensor.storage), position)
            if leader == position and tensor.storage.nbytes not in (None, tensor.spec.nbytes):
                tensors["odd_storage_rows"].append(position)
                tensors["odd_storage_nbytes"].append(tensor.storage.nbytes)
            tensors["owner"].append(row)
            tensors["name"].append(names[tensor_name])
            tensors["spec"].append(specs[tensor.spec])
            tensors["flags"].append(
                (TensorFlag.BUFFER if slot.buffer else 0)
                | (TensorFlag.REQUIRES_GRAD if tensor.requires_grad else 0)
                | (TensorFlag.PERSISTENT if slot.persistent or not slot.buffer else 0)
            )
            tensors["role"].append(slot.role)
            tensors["adapter"].append(adapters[slot.adapter])
            tensors["version"].append(tensor.version)
            tensors["identity"].append(tensor.serial)
            tensors["storage"].append(leader)
            if model.values != "off":
                tensors["fingerprint"].append(tensor.fingerprint)
    signed = {
        "parent",
        "owner",
        "identity",
        "storage",
        *(name for name in (*modules, *tensors) if name[:3] in ("ali", "odd")),
    }
    fingerprint = np.array(tensors.pop("fingerprint"), np.uint64)
    return Snapshot(
        modules=ModuleTable(**{name: compact(column, signed=name in signed) for name, column in modules.items()}),
        tensors=TensorTable(
            fingerprint=fingerprint,
            **{name: compact(column, signed=name in signed) for name, column in tensors.items()},
        ),
        names=tuple(names),
        types=tuple(types),
        specs=tuple(specs),
        adapter_names=tuple(adapters),
        states=tuple(states),
        hook_lists=tuple(hooks),
        adapters=model.adapters,
        adapter_state=model.adapter_state,
        base=model.base,
        label=model.label,
        environment=model.environment,
        scope=model.scope,
        values=model.values,
    )
