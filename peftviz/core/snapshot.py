"""A snapshot: the module tree, the tensors and the adapter state of a model at one moment, as frozen columns."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from peftviz.core.counting import elements_once, storage_bytes
from peftviz.core.display import Displayed
from peftviz.core.preorder import record_depth, subtree_ends
from peftviz.core.rows import Adapter, AdapterState, BaseModel, ModuleRow, TensorRow, Totals
from peftviz.core.tables import (
    IntArray,
    ModuleFlag,
    ModuleTable,
    Role,
    TensorFlag,
    TensorSpec,
    TensorTable,
    frozen,
)
from peftviz.errors import LookupFailure

if TYPE_CHECKING:
    import pandas as pd


class Snapshot(Displayed):
    """The structure of a model at one moment. Immutable; holds no torch object and keeps none alive.

    Two snapshots are equal when a reader could see no difference: tree, tensors, sharing, adapters, values.
    The label, the environment, what the base model says of itself and the serial numbers of objects take no part.

    Attributes:
        modules: Column table of the modules, in preorder.
        tensors: Column table of the parameters and buffers.
        names: Attribute names that the tables refer to.
        types: Qualified class names.
        specs: Shape, dtype, device and class of tensors.
        adapter_names: Every name that keys a container of the tree; entry 0 is `""` and stands for none.
        states: Instance attributes of PEFT's modules as canonical JSON; entry 0 is `""`.
        hook_lists: Registered hooks as JSON lists; entry 0 is `""`.
        adapters: The adapters that a config registry names, in its order.
        adapter_state: What the model says of its adapters as a whole.
        base: What the model inside PEFT's handles says of itself: its config, its ties.
        label: What the reader calls this moment.
        environment: Versions of the packages and the time of capture.
        scope: Token of the process (or loaded file) within which `identity` columns can be compared.
        values: `"off"`, `"sample"` or `"full"`: how the fingerprints were taken.
    """

    def __init__(
        self,
        *,
        modules: ModuleTable,
        tensors: TensorTable,
        names: tuple[str, ...],
        types: tuple[str, ...],
        specs: tuple[TensorSpec, ...],
        adapter_names: tuple[str, ...] = ("",),
        states: tuple[str, ...] = ("",),
        hook_lists: tuple[str, ...] = ("",),
        adapters: tuple[Adapter, ...] = (),
        adapter_state: AdapterState | None = None,
        base: BaseModel | None = None,
        label: str = "",
        environment: Mapping[str, str] | None = None,
        scope: object = None,
        values: str = "off",
    ) -> None:
        self.modules = modules
        self.tensors = tensors
        self.names = names
        self.types = types
        self.specs = specs
        self.adapter_names = adapter_names
        self.states = states
        self.hook_lists = hook_lists
        self.adapters = adapters
        self.adapter_state = adapter_state or AdapterState()
        self.base = base or BaseModel()
        self.label = label
        self.environment = MappingProxyType(dict(environment or {}))
        self.scope = scope
        self.values = values

    # Rows ---------------------------------------------------------------------------------------------------------

    def module(self, path: str) -> ModuleRow:
        """The module at a dotted path, `""` for the model itself.

        Raises:
            LookupFailure: No module of that path; near matches are named.
        """
        row = self.find_module(path)
        if row is None:
            raise self._unknown(path, tensors=False)
        return self.module_row(row)

    def tensor(self, path: str) -> TensorRow:
        """The parameter or buffer at a dotted path.

        Raises:
            LookupFailure: No tensor of that path; near matches are named.
        """
        row = self.find_tensor(path)
        if row is None:
            raise self._unknown(path, tensors=True)
        return self.tensor_row(row)

    def find(self, pattern: str) -> list[ModuleRow | TensorRow]:
        """All modules and tensors whose path matches a shell pattern such as `"*.q_proj"`, in tree order."""
        found: list[ModuleRow | TensorRow] = []
        matcher = fnmatch.fnmatchcase
        module_paths = self.module_paths()
        for row, path in enumerate(module_paths):
            if matcher(path, pattern):
                found.append(self.module_row(row, path))
            for tensor in self.tensor_rows_of(row):
                tensor_path = join(path, self.names[self.tensors.name[tensor]])
                if matcher(tensor_path, pattern):
                    found.append(self.tensor_row(tensor))
        return found

    def module_row(self, row: int, path: str | None = None) -> ModuleRow:
        """The module in one row of the table."""
        table = self.modules
        alias = self.alias_target(row)
        hooks = self.hook_lists[table.hooks[row]]
        return ModuleRow(
            row=row,
            path=self.module_path(row) if path is None else path,
            name=self.names[table.name[row]],
            type=self.types[table.type[row]],
            training=bool(table.flags[row] & ModuleFlag.TRAINING),
            role=Role(int(table.role[row])),
            adapter=self.adapter_names[table.adapter[row]] if table.adapter[row] else None,
            alias_of=None if alias is None else self.module_path(alias),
            hooks=tuple(json.loads(hooks)) if hooks else (),
            state=self.state(row),
            identity=int(table.identity[row]),
        )

    def tensor_row(self, row: int) -> TensorRow:
        """The tensor in one row of the table."""
        table = self.tensors
        spec = self.specs[table.spec[row]]
        flags = int(table.flags[row])
        owner = self.module_path(int(table.owner[row]))
        name = self.names[table.name[row]]
        sharers = np.flatnonzero(table.storage == table.storage[row])
        fingerprint = int(table.fingerprint[row]) if len(table.fingerprint) else 0
        return TensorRow(
            row=row,
            path=join(owner, name),
            owner=owner,
            name=name,
            kind="buffer" if flags & TensorFlag.BUFFER else "parameter",
            shape=spec.shape,
            dtype=spec.dtype,
            device=spec.device,
            requires_grad=bool(flags & TensorFlag.REQUIRES_GRAD),
            persistent=bool(flags & TensorFlag.PERSISTENT),
            numel=spec.numel,
            nbytes=spec.nbytes,
            type=spec.type,
            storage_nbytes=int(self.counted_bytes[table.storage[row]]),
            storage=int(table.storage[row]),
            shared_with=tuple(self.tensor_path(int(other)) for other in sharers if other != row),
            version=int(table.version[row]),
            fingerprint=f"{fingerprint:016x}" if fingerprint else None,
            role=Role(int(table.role[row])),
            adapter=self.adapter_names[table.adapter[row]] if table.adapter[row] else None,
            identity=int(table.identity[row]),
        )

    def state(self, row: int) -> Mapping[str, Any]:
        """Instance attributes of a PEFT module in one row, as JSON values; empty for other modules."""
        code = int(self.modules.state[row])
        return MappingProxyType(json.loads(self.states[code]) if code else {})

    # Paths and tree -----------------------------------------------------------------------------------------------

    def module_path(self, row: int) -> str:
        """Dotted path of a module row."""
        parts = []
        while row > 0:
            parts.append(self.names[self.modules.name[row]])
            row = int(self.modules.parent[row])
        return ".".join(reversed(parts))

    def tensor_path(self, row: int) -> str:
        """Dotted path of a tensor row."""
        return join(self.module_path(int(self.tensors.owner[row])), self.names[self.tensors.name[row]])

    def module_paths(self) -> list[str]:
        """Dotted paths of all module rows, in order."""
        names = self.names
        paths: list[str] = []
        for parent, code in zip(self.modules.parent.tolist(), self.modules.name.tolist(), strict=True):
            paths.append("" if parent < 0 else join(paths[parent], names[code]))
        return paths

    def tensor_paths(self) -> list[str]:
        """Dotted paths of all tensor rows, in order."""
        owners = self.module_paths()
        names = self.names
        pairs = zip(self.tensors.owner.tolist(), self.tensors.name.tolist(), strict=True)
        return [join(owners[owner], names[code]) for owner, code in pairs]

    def find_module(self, path: str) -> int | None:
        """Row of the module at a path, aliases followed, or None."""
        row = 0
        for part in path.split(".") if path else ():
            row = self.first_occurrence(row)
            for child in self.child_rows(row).tolist():
                if self.names[self.modules.name[child]] == part:
                    row = child
                    break
            else:
                return None
        return row

    def find_tensor(self, path: str) -> int | None:
        """Row of the tensor at a path, aliases followed, or None."""
        owner_path, _, name = path.rpartition(".")
        owner = self.find_module(owner_path)
        if owner is None:
            return None
        for row in self.tensor_rows_of(self.first_occurrence(owner)):
            if self.names[self.tensors.name[row]] == name:
                return row
        return None

    def child_rows(self, row: int) -> IntArray:
        """Rows of the direct child modules, in order."""
        ends, children = self.subtree_end, []
        child, end = row + 1, ends[row]
        while child < end:
            children.append(child)
            child = ends[child]
        return np.array(children, np.int64)

    def tensor_rows_of(self, row: int) -> range:
        """Rows of the tensors that a module holds itself."""
        starts = self.tensor_starts
        return range(int(starts[row]), int(starts[row + 1]))

    def alias_target(self, row: int) -> int | None:
        """Row of the first occurrence of a module that occurs again in this row, else None."""
        position = int(np.searchsorted(self.modules.alias_rows, row))
        if position < len(self.modules.alias_rows) and self.modules.alias_rows[position] == row:
            return int(self.modules.alias_targets[position])
        return None

    def first_occurrence(self, row: int) -> int:
        """Row where the module of a row occurs first; below that one stand its children and its tensors."""
        target = self.alias_target(row)
        return row if target is None else target

    @cached_property
    def subtree_end(self) -> IntArray:
        """For each module row, the row after its last descendant. Shape `(modules,)`."""
        return frozen(subtree_ends(self.modules.parent))

    @cached_property
    def depth(self) -> IntArray:
        """For each module row, the number of its ancestors. Shape `(modules,)`."""
        return frozen(record_depth(self.modules.parent).astype(np.int32))

    @cached_property
    def tensor_starts(self) -> IntArray:
        """For each module row its first tensor row or that of a later module, then the number of tensors.

        Shape `(modules + 1,)`.
        """
        starts = np.zeros(len(self.modules) + 1, np.int64)
        np.cumsum(np.bincount(self.tensors.owner, minlength=len(self.modules)), out=starts[1:])  # owners ascend
        return frozen(starts)

    def _unknown(self, path: str, *, tensors: bool) -> LookupFailure:
        from peftviz.core.nearby import nearby

        return LookupFailure(
            f"The snapshot has no {'parameter or buffer' if tensors else 'module'} {path!r}.",
            where=f"snapshot of {self.root_class}",
            hint=nearby(self, path, tensors=tensors),
        )

    # Sums ---------------------------------------------------------------------------------------------------------

    @cached_property
    def totals(self) -> Totals:
        """Sums over the whole model; shared storage is counted once."""
        numel = self.counted_numel
        trainable = (self.tensors.flags & TensorFlag.REQUIRES_GRAD) != 0
        parameter = (self.tensors.flags & TensorFlag.BUFFER) == 0
        return Totals(
            modules=len(self.modules) - len(self.modules.alias_rows),
            parameters=int(numel[parameter].sum()),
            trainable=int(numel[parameter & trainable].sum()),
            bytes=int(self.counted_bytes.sum()),
        )

    @cached_property
    def counted_bytes(self) -> IntArray:
        """Bytes by tensor row: the whole storage at the first row that shares it, 0 at the others."""
        return storage_bytes(self.tensors, self.specs)

    @cached_property
    def counted_numel(self) -> IntArray:
        """Elements by tensor row; within one storage, no more than fit into it are counted, first rows first."""
        return elements_once(self.tensors, self.specs, self.counted_bytes)

    # Comparison ---------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        from peftviz.core.equality import equal_snapshots

        return equal_snapshots(self, other) if isinstance(other, Snapshot) else NotImplemented

    __hash__ = object.__hash__

    # Presentation and storage ---------------------------------------------------------------------------------------

    @property
    def root_class(self) -> str:
        """Class name of the model, without its module."""
        return self.types[self.modules.type[0]].rpartition(".")[2] if len(self.modules) else "empty model"

    def to_frame(self, table: str = "modules") -> pd.DataFrame:
        """One of the tables as a DataFrame.

        Args:
            table: `"modules"`, `"tensors"` or `"adapters"`.

        Raises:
            LookupFailure: No table of that name.
            MissingDependencyError: pandas is not installed.
        """
        from peftviz.core.display import dataframes

        frame: pd.DataFrame = dataframes().snapshot_frame(self, table)
        return frame

    def graph(self, path: str = "") -> Any:
        """A `graphviz` picture of the modules at and below a module.

        `.source` is its DOT text; `.write(path)` writes DOT, SVG, PNG or PDF, as the ending of the path says.

        Args:
            path: Path of the module.

        Raises:
            LookupFailure: There is no such module.
        """
        from peftviz.core.display import graph

        return graph(self, path)

    def save(self, path: str | Path) -> Path:
        """Writes the snapshot to a file that `peftviz.load` reads.

        Returns:
            The path written.
        """
        from peftviz.core.serialize import save

        return save(self, path)

    def __repr__(self) -> str:
        totals = self.totals
        label = f"{self.label!r}, " if self.label else ""
        return (
            f"Snapshot({label}{self.root_class}: {totals.modules:,} modules, {totals.parameters:,} parameters, "
            f"{totals.trainable:,} trainable, {len(self.adapters)} adapters)"
        )


def join(owner: str, name: str) -> str:
    """Joins a module path and an attribute name with a dot."""
    return f"{owner}.{name}" if owner else name
