"""PV403 and PV404: what the configs target, against what there is and what was adapted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from peftviz.core.finding import Finding
from peftviz.core.rows import Adapter
from peftviz.core.rules.base import SHOWN_PATHS, base_row
from peftviz.core.rules.columns import once
from peftviz.core.rules.facts import Facts, quoted
from peftviz.core.rules.rule import Rule
from peftviz.core.tables import IntArray, Role

NAMED = ("target_modules", "target_parameters", "modules_to_save")
"""Entries of a config that name modules or parameters, each with the end of its path."""

PATTERNS = ("rank_pattern", "alpha_pattern")
"""Entries of a config that give some of the targets another number; their keys name those."""

CLASSIFIERS = frozenset({"classifier", "score"})
"""PEFT adds both of them to `modules_to_save` for a classification task; a model has one of them at most."""

WRAPPED_SLOTS = frozenset({"base_layer", "original_module"})


def targets_of_nothing(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV403: an entry of a config names no module, no parameter or no layer of the model."""
    paths = _Paths(facts)
    for adapter in facts.snapshot.adapters:
        if adapter.name not in facts.snapshot.adapter_names:
            continue  # PV204, or prompt learning
        for field, entries, missing in _missing(paths, facts, adapter):
            yield rule.finding(
                "",
                f"{field} of {adapter.name!r} has {quoted(missing)}, which is nothing that "
                f"{'the adapter is on' if field in PATTERNS else 'the model has'}.",
                {"field": field, "missing": missing, "entries": entries},
                adapter=adapter.name,
            )


def targets_not_adapted(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV404: modules that a config targets have nothing of the adapter, though other modules have."""
    snapshot, modules = facts.snapshot, facts.snapshot.modules
    base = base_row(snapshot)
    outer = np.flatnonzero(facts.peft)
    outer = outer[(outer > base) | ((outer == base) & (modules.role[base] == Role.WRAPPER))]
    edges = np.zeros(len(modules) + 1, np.int64)
    np.add.at(edges, outer + 1, 1)
    np.add.at(edges, snapshot.subtree_end[outer], -1)
    around = np.cumsum(edges[:-1]) > 0
    layers = np.isin(np.arange(len(modules)), facts.tuner_layers)
    candidates = ~around & (layers | (modules.role == Role.BASE)) & (np.arange(len(modules)) > base)
    candidates[modules.alias_rows] = False
    for adapter in snapshot.adapters:
        targets = _whole_targets(adapter.config)
        adapted = _adapted(facts, adapter.name)
        if not targets or not len(adapted):
            continue
        ends = {target.split(".")[-1] for target in targets}
        last = [code for code, name in enumerate(snapshot.names) if name in ends]
        served = _with_outer_layers(facts, adapted)
        start, stop = _reach(facts, adapter.name)
        rows = start + np.flatnonzero((candidates & np.isin(modules.name, last))[start:stop])
        rows = rows[~np.isin(rows, served)]
        left_out = [row for row in rows.tolist() if _matches(snapshot.module_path(row), targets)]
        excluded = adapter.config.get("exclude_modules")
        if isinstance(excluded, list):
            left_out = [row for row in left_out if not _matches(snapshot.module_path(row), map(str, excluded))]
        if not left_out:
            continue
        paths = [snapshot.module_path(row) for row in left_out[:SHOWN_PATHS]]
        count = "One module" if len(left_out) == 1 else f"{len(left_out)} modules"
        yield rule.finding(
            paths[0],
            f"{count} that {adapter.name!r} targets {'has' if len(left_out) == 1 else 'have'} nothing of it; "
            f"{len(adapted)} others have.",
            {"without": len(left_out), "adapted": len(adapted), "paths": paths, "target_modules": targets},
            adapter=adapter.name,
            rows=left_out,
        )


class _Paths:
    """The names and paths of a model without PEFT's own parts, made when first asked for."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._names = {facts.snapshot.names[code] for code in once(facts.snapshot.modules.name[1:]).tolist()}
        self._ends: set[str] | None = None

    def has(self, entry: str, *, parameter: bool = False) -> bool:
        """Whether a module, or a parameter, has a path that ends like this."""
        if not parameter and "." not in entry:
            return entry in self._names
        if self._ends is None:
            snapshot = self._facts.snapshot
            found = [*snapshot.module_paths(), *snapshot.tensor_paths()]
            self._ends = {_plain(path) for path in found}
        return any(f".{path}".endswith(f".{entry}") for path in self._ends)


def _missing(paths: _Paths, facts: Facts, adapter: Adapter) -> Iterator[tuple[str, list[str], list[str]]]:
    """Field, its entries and those that match nothing."""
    config = adapter.config
    for field in NAMED:
        listed = config.get(field)
        if not isinstance(listed, (list, tuple)):
            continue  # a pattern, or none
        entries = sorted(str(entry) for entry in listed)
        skipped = CLASSIFIERS if str(config.get("task_type") or "").endswith("_CLS") else frozenset()
        of_parameters = field == "target_parameters"
        missing = [entry for entry in entries if entry not in skipped and not paths.has(entry, parameter=of_parameters)]
        if missing:
            yield field, entries, missing
    patterns = [(field, sorted(map(str, config[field]))) for field in PATTERNS if isinstance(config.get(field), dict)]
    wanted = config.get("layers_to_transform")
    numbers = [wanted] if isinstance(wanted, int) else wanted if isinstance(wanted, list) else []
    if not numbers and not any(keys for _, keys in patterns):
        return  # the paths of all layers take their time
    on = [_plain(facts.snapshot.module_path(row)) for row in _adapted(facts, adapter.name).tolist()]
    for field, keys in patterns:
        # A key may be a regular expression; a snapshot may come from anyone, so none is run.
        plain = [key for key in keys if re.fullmatch(r"[\w.]+", key)]
        missing = [key for key in plain if on and not any(f".{path}".endswith(f".{key}") for path in on)]
        if missing:
            yield field, keys, missing
    met = {part for path in on for part in path.split(".") if part.isdigit()}
    missing = [str(number) for number in numbers if on and str(number) not in met]
    if missing:
        yield "layers_to_transform", [str(number) for number in numbers], missing


def _whole_targets(config: Any) -> list[str]:
    """The names in `target_modules`, when they alone decide what is adapted."""
    listed = config.get("target_modules")
    if not isinstance(listed, (list, tuple)) or config.get("layers_to_transform") is not None:
        return []
    if isinstance(config.get("exclude_modules"), str):
        return []
    return sorted(str(entry) for entry in listed)


def _reach(facts: Facts, name: str) -> tuple[int, int]:
    """The rows in which a config targets modules: those below its registry, which may be one of several models'."""
    return next(
        ((start, stop) for start, stop, names in facts.registries if name in names), (0, len(facts.snapshot.modules))
    )


def _adapted(facts: Facts, name: str) -> IntArray:
    """Rows of the layers that have something of an adapter."""
    names = facts.snapshot.adapter_names
    if name not in names:
        return np.zeros(0, np.int64)
    own = (facts.entries.adapter == names.index(name)) & ~facts.entries.auxiliary
    return once(facts.entries.holder[own])


def _with_outer_layers(facts: Facts, rows: IntArray) -> IntArray:
    """Rows of layers, and of the layers around them: in a `PeftMixedModel` layers wrap each other."""
    modules = facts.snapshot.modules
    slots = np.array([name in WRAPPED_SLOTS for name in facts.snapshot.names], bool)
    found = []
    while len(rows):
        found.append(rows)
        rows = modules.parent[rows[slots[modules.name[rows]]]]
    return np.concatenate(found)


def _matches(path: str, targets: Any) -> bool:
    plain = _plain(path)
    return any(plain == target or plain.endswith(f".{target}") for target in targets)


def _plain(path: str) -> str:
    """A path without the slots in which wrappers keep what they wrap."""
    return ".".join(part for part in path.split(".") if part not in WRAPPED_SLOTS)
