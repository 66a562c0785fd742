"""DataFrames of snapshots, diffs and audits. Columns are made whole, without an object a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from peftviz.core.diff import Change, Diff
from peftviz.core.finding import Finding
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, ModuleFlag, Role, TensorFlag
from peftviz.errors import LookupFailure, MissingDependencyError, near_matches
from peftviz.views.viewmodel.table import RowKind, Status, ViewTable

if TYPE_CHECKING:
    import pandas as pd

    from peftviz.core.audit import Audit

TABLES = ("modules", "tensors", "adapters")


def snapshot_frame(snapshot: Snapshot, table: str = "modules") -> pd.DataFrame:
    """One of the tables of a snapshot.

    `bytes` counts shared storage once, at its first tensor; so a column adds up to the totals of the snapshot, for
    modules in the first row. `nbytes` is what a tensor takes by itself.

    Args:
        snapshot: The snapshot.
        table: `"modules"`, `"tensors"` or `"adapters"`.

    Raises:
        LookupFailure: No table of that name.
        MissingDependencyError: pandas is not installed.
    """
    makers = {"modules": _modules, "tensors": _tensors, "adapters": _adapters}
    maker = makers.get(table) if isinstance(table, str) else None
    if maker is None:
        raise LookupFailure(
            f"A snapshot has no table {table!r}.",
            where="Snapshot.to_frame(table)",
            hint=near_matches(str(table), TABLES),
        )
    frame: pd.DataFrame = _pandas().DataFrame(maker(snapshot))
    return frame


def diff_frame(diff: Diff) -> pd.DataFrame:
    """One row a change, columns as the attributes of `Change`.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    return _records(list(diff), [field.name for field in fields(Change)])


def audit_frame(audit: Audit) -> pd.DataFrame:
    """One row a finding, columns as the attributes of `Finding` that take part in equality.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    return _records(list(audit), [field.name for field in fields(Finding) if field.compare])


def table_frame(table: ViewTable, paths: Sequence[str], rows: Sequence[int]) -> pd.DataFrame:
    """Rows of a view table: what is seen of each before and after.

    Args:
        table: The table.
        paths: Path of each row.
        rows: Numbers of the rows.

    Raises:
        MissingDependencyError: pandas is not installed.
    """
    own = np.asarray(rows, np.int64)
    columns: dict[str, Any] = {
        "path": list(paths),
        "kind": _interned([kind.name.lower() for kind in RowKind], table.kind[own]),
        "status": _interned([status.name.lower() for status in Status], table.status[own]),
        "role": _roles(table.role[own]),
        "adapter": _interned([text or None for text in table.strings], table.adapter[own]),
    }
    for name in ("type", "shape", "dtype", "device"):
        for when in ("before", "after"):
            columns[f"{name}_{when}"] = _interned(table.strings, getattr(table, f"{name}_{when}")[own])
    for name in ("numel", "bytes"):
        for when in ("before", "after"):
            columns[f"{name}_{when}"] = getattr(table, f"{name}_{when}")[own].astype(np.int64)
    frame: pd.DataFrame = _pandas().DataFrame(columns)
    return frame


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as missing:
        raise MissingDependencyError(
            "pandas is needed for to_frame() and is not installed.",
            hint="pip install pandas",
        ) from missing
    return pandas


def _records(rows: Sequence[Any], names: Sequence[str]) -> pd.DataFrame:
    pandas = _pandas()
    columns = {name: pandas.Series([getattr(row, name) for row in rows], dtype=object) for name in names}
    frame: pd.DataFrame = pandas.DataFrame(columns)
    return frame


def _modules(snapshot: Snapshot) -> dict[str, Any]:
    table = snapshot.modules
    first = np.searchsorted(snapshot.tensors.owner, np.arange(len(table) + 1))
    below = (first[:-1], first[snapshot.subtree_end])
    parameter = (snapshot.tensors.flags & TensorFlag.BUFFER) == 0
    learns = (snapshot.tensors.flags & TensorFlag.REQUIRES_GRAD) != 0
    numel = np.where(parameter, snapshot.counted_numel, 0)
    alias = np.full(len(table), None, object)
    alias[table.alias_rows] = [snapshot.module_path(row) for row in table.alias_targets.tolist()]
    return {
        "path": snapshot.module_paths(),
        "type": _interned(snapshot.types, table.type),
        "role": _roles(table.role),
        "adapter": _adapter_column(snapshot, table.adapter),
        "training": (table.flags & ModuleFlag.TRAINING) != 0,
        "parameters": _sums(numel, below),
        "trainable": _sums(np.where(learns, numel, 0), below),
        "bytes": _sums(snapshot.counted_bytes, below),
        "alias_of": alias,
    }


def _tensors(snapshot: Snapshot) -> dict[str, Any]:
    table, specs = snapshot.tensors, snapshot.specs
    paths = np.array(snapshot.tensor_paths() or [""], object)[: len(table)]
    flags = table.flags
    shared = table.storage != np.arange(len(table))
    leaders = np.full(len(table), None, object)
    leaders[shared] = paths[table.storage[shared]]
    fingerprint = np.full(len(table), None, object)
    if len(table.fingerprint):
        fingerprint[:] = [f"{value:016x}" if value else None for value in table.fingerprint.tolist()]
    return {
        "path": paths,
        "kind": np.where((flags & TensorFlag.BUFFER) != 0, "buffer", "parameter"),
        "shape": _interned([spec.shape for spec in specs], table.spec),
        "dtype": _interned([spec.dtype for spec in specs], table.spec),
        "device": _interned([spec.device for spec in specs], table.spec),
        "requires_grad": (flags & TensorFlag.REQUIRES_GRAD) != 0,
        "persistent": (flags & TensorFlag.PERSISTENT) != 0,
        "numel": _interned([spec.numel for spec in specs], table.spec, np.int64),
        "nbytes": _interned([spec.nbytes for spec in specs], table.spec, np.int64),
        "bytes": snapshot.counted_bytes,
        "shares_storage_of": leaders,
        "version": table.version.astype(np.int64),
        "fingerprint": fingerprint,
        "role": _roles(table.role),
        "adapter": _adapter_column(snapshot, table.adapter),
    }


def _adapters(snapshot: Snapshot) -> dict[str, Any]:
    names = [adapter.name for adapter in snapshot.adapters]
    codes = [snapshot.adapter_names.index(name) if name in snapshot.adapter_names else -1 for name in names]
    owned = [snapshot.tensors.adapter == code for code in codes]
    return {
        "name": names,
        "method": [adapter.method for adapter in snapshot.adapters],
        "active": [adapter.active for adapter in snapshot.adapters],
        "merged": [adapter.merged for adapter in snapshot.adapters],
        "inference": [adapter.inference for adapter in snapshot.adapters],
        "tensors": [int(rows.sum()) for rows in owned],
        "parameters": [int(snapshot.counted_numel[rows].sum()) for rows in owned],
        "bytes": [int(snapshot.counted_bytes[rows].sum()) for rows in owned],
        "config": [dict(adapter.config) for adapter in snapshot.adapters],
    }


def _interned(values: Sequence[Any], codes: IntArray, dtype: Any = object) -> npt.NDArray[Any]:
    pool = np.empty(len(values), dtype)
    for place, value in enumerate(values):  # one by one: numpy would make a matrix of tuples
        pool[place] = value
    return pool[codes] if len(values) else np.empty(len(codes), dtype)


def _roles(codes: IntArray) -> npt.NDArray[Any]:
    return _interned([role.name.lower() for role in Role], codes)


def _adapter_column(snapshot: Snapshot, codes: IntArray) -> npt.NDArray[Any]:
    return _interned([name or None for name in snapshot.adapter_names], codes)


def _sums(values: npt.NDArray[Any], below: tuple[IntArray, IntArray]) -> npt.NDArray[np.int64]:
    running = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return np.asarray(running[below[1]] - running[below[0]])
