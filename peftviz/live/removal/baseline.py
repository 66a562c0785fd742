"""What a baseline snapshot recorded of the base model's objects: flags of parameters, the config, hooks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peftviz.core.tables import TensorFlag
from peftviz.live.peft_facts import CONFIG_FIELDS_SET, MODEL_SLOTS, WRAPPED_SLOTS
from peftviz.live.snapshots.base_model import config_values
from peftviz.live.snapshots.identity import REGISTRY

if TYPE_CHECKING:
    from peftviz.core.snapshot import Snapshot
    from peftviz.live.removal.survey import Survey

_INSERTED = frozenset((*WRAPPED_SLOTS, "token_adapter"))


@dataclass(frozen=True)
class Earlier:
    """What a baseline says of what is in the model now.

    Attributes:
        flags: `requires_grad` of parameters of the base that are to be as they were, by `id`.
        recorded: `requires_grad` of each parameter that it knows, by `id`.
        settings: Entries of the base's config that are to be as they were.
        hooks: How often each module of the base had each hook, by `id`.
        attributes: Names of the attributes of the base, such as those in which handles of hooks are kept.
    """

    flags: dict[int, bool]
    recorded: dict[int, bool]
    settings: dict[str, Any] = field(default_factory=dict)
    hooks: dict[int, Counter[str]] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()


def earlier_of(survey: Survey, baseline: Snapshot | None) -> Earlier | None:
    """Reads a baseline for a model; None without one."""
    if baseline is None:
        return None
    recorded = _flags(survey, baseline)
    return Earlier(
        flags=recorded,
        recorded=recorded,
        settings=_settings(survey, baseline),
        hooks=_hooks(survey, baseline),
        attributes=frozenset(baseline.base.attributes),
    )


def _flags(survey: Survey, baseline: Snapshot) -> dict[int, bool]:
    """The recorded flag of each parameter that the baseline knows, by `id`.

    Within the process of the baseline the objects are compared, otherwise the paths, PEFT's own levels left out; so
    too for a parameter that PEFT made anew, as its attention layer does.
    """
    flags = (baseline.tensors.flags & TensorFlag.REQUIRES_GRAD) != 0
    found: dict[int, bool] = {}
    if baseline.scope is REGISTRY:
        by_serial = dict(zip(baseline.tensors.identity.tolist(), flags.tolist(), strict=True))
        serials = REGISTRY.serials(survey.parameters).tolist()
        found = {
            id(parameter): by_serial[serial]
            for parameter, serial in zip(survey.parameters, serials, strict=True)
            if serial in by_serial
        }
        if len(found) == len(flags):
            return found
    by_path = {plain_path(path): bool(flag) for path, flag in zip(baseline.tensor_paths(), flags, strict=True)}
    tree = survey.tree
    for row, module in enumerate(tree.modules):  # never named_parameters(): walked, PEFT's attention layer changes
        for name, parameter in vars(module)["_parameters"].items():
            if parameter is not None and id(parameter) not in found:
                plain = plain_path(tree.paths.below(row, name))
                if plain in by_path:
                    found[id(parameter)] = by_path[plain]
    return found


def _settings(survey: Survey, baseline: Snapshot) -> dict[str, Any]:
    """Entries of the base's config that PEFT set when it made a handle, with their values in the baseline."""
    now, then = config_values(survey.model), baseline.base.config
    return {name: then[name] for name in CONFIG_FIELDS_SET if name in now and name in then and now[name] != then[name]}


def _hooks(survey: Survey, baseline: Snapshot) -> dict[int, Counter[str]]:
    """Hooks that the modules with hooks had, of those that the baseline knows: by identity, or by path."""
    modules = [holder.module for holder in survey.hooked]
    if not modules:
        return {}
    columns = baseline.modules
    rows: dict[int, int] = {}
    if baseline.scope is REGISTRY:
        by_serial = dict(zip(columns.identity.tolist(), range(len(columns)), strict=True))
        serials = REGISTRY.serials(modules).tolist()
        rows = {
            id(module): by_serial[serial]
            for module, serial in zip(modules, serials, strict=True)
            if serial in by_serial
        }
    for holder in survey.hooked:
        if id(holder.module) not in rows and (row := baseline.find_module(plain_path(holder.path))) is not None:
            rows[id(holder.module)] = row
    texts = {key: baseline.hook_lists[columns.hooks[row]] for key, row in rows.items()}
    return {key: Counter(json.loads(text) if text else ()) for key, text in texts.items()}


def plain_path(path: str) -> str:
    """A path as it reads without PEFT's handles and wrappers."""
    parts: list[str] = []
    for part in path.split("."):
        parts.append(part)
        if tuple(parts[-2:]) == MODEL_SLOTS:  # handles may lie inside each other, and inside other modules
            del parts[-2:]
    return ".".join(part for part in parts if part not in _INSERTED)
