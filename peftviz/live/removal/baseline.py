"""`requires_grad` of the base model's parameters as a baseline snapshot recorded it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peftviz.core.tables import TensorFlag
from peftviz.live.peft_facts import CONFIG_FIELDS_SET, MODEL_SLOTS, WRAPPED_SLOTS
from peftviz.live.snapshots.base_model import config_values
from peftviz.live.snapshots.identity import REGISTRY

if TYPE_CHECKING:
    from peftviz.core.snapshot import Snapshot
    from peftviz.live.removal.survey import Survey

_INSERTED = frozenset((*WRAPPED_SLOTS, "token_adapter"))


def flags_of_baseline(survey: Survey, baseline: Snapshot | None) -> dict[int, bool] | None:
    """The recorded flag of each parameter that the baseline knows, by `id`.

    Within the process of the baseline the objects are compared, otherwise the paths, PEFT's own levels left out; so
    too for a parameter that PEFT made anew, as its attention layer does.
    """
    if baseline is None:
        return None
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


def settings_of_baseline(survey: Survey, baseline: Snapshot | None) -> dict[str, Any]:
    """Entries of the base's config that PEFT set when it made a handle, with their values in the baseline."""
    if baseline is None:
        return {}
    now, then = config_values(survey.model), baseline.base.config
    return {name: then[name] for name in CONFIG_FIELDS_SET if name in now and name in then and now[name] != then[name]}


def plain_path(path: str) -> str:
    """A path as it reads without PEFT's handles and wrappers."""
    parts = path.split(".")
    if tuple(parts[:2]) == MODEL_SLOTS:
        parts = parts[2:]
    return ".".join(part for part in parts if part not in _INSERTED)
