"""Mends what other operations left in a model, with the engine of corrected deletion."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from peftviz.core.arguments import check_baseline
from peftviz.core.plan import Action, Freed
from peftviz.core.rules.base_config import restorable
from peftviz.live.peft_facts import (
    MENTIONED_ADAPTERS,
    MERGED_OF_LAYER,
    handle_kind,
    is_buffer_dict,
    is_peft_class,
    trains_biases,
)
from peftviz.live.removal.activity import parameters_under
from peftviz.live.removal.baseline import earlier_of
from peftviz.live.removal.deletion import Report, carry_out
from peftviz.live.removal.prepare import Prepared, prepare
from peftviz.live.removal.survey import Survey, is_wrapper
from peftviz.live.removal.sweep import UNSEARCHED, as_list
from peftviz.live.snapshots.capture import check_model, record, snapshot_of
from peftviz.live.snapshots.module_state import NON_PERSISTENT

if TYPE_CHECKING:
    import torch

    from peftviz.core.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class RepairReport(Report):
    """What `repair` did.

    Attributes:
        actions: Every change, in the order in which it was made; empty when there was nothing to mend.
    """

    actions: tuple[Action, ...]

    def lines(self) -> list[str]:
        """The report as lines of plain text."""
        if not self.actions:
            return ["Nothing to repair", *(f"warning: {warning}" for warning in self.warnings)]
        counts = Counter(action.kind for action in self.actions)
        done = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        head = f"Repaired: {done}; go on with report.model, a {type(self.model).__name__}"
        return [head, *self.freed.lines(), *(f"warning: {warning}" for warning in self.warnings)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def repair(model: torch.nn.Module, *, baseline: Snapshot | None = None) -> RepairReport:
    """Removes what no adapter of the model needs and brings the rest in line.

    Leftover copies and ghosts go, empty wrappers come off, names of adapters that are gone are forgotten, handle,
    layers and wrappers agree on the active adapters, what is merged and not active is taken out of the base weights,
    hooks that a forward left behind are removed, and a layer's weights get one dtype. All of it happens or nothing.

    Args:
        model: Any model; one without adapters and leftovers is left as it is.
        baseline: An earlier snapshot of the model. With it `requires_grad` of base parameters is restored, hooks that
            piled up go, and, when no adapter is left, what adapters changed in the base's config is as it was.

    Returns:
        The report; `report.model` is what to go on with, the plain base model when no adapter is left.

    Raises:
        ModelError: `model` is no `torch.nn.Module`.
        SnapshotError: `baseline` is no snapshot.
        VerificationError: The result was not as planned; the model was put back.
    """
    check_model(model)
    check_baseline(baseline)
    recorded = record(model, keep=True)
    survey = Survey(model, recorded)
    before = snapshot_of(recorded, label="before repair")
    del recorded
    if survey.kind is None and baseline is None and not survey.hooked:
        return RepairReport(
            model=model, freed=Freed(), warnings=(), before=before, after=before, baseline=None, actions=()
        )
    lost = lost_while_merged(survey)
    prepared = _prepare(survey, before, baseline, lost)
    watched, plan, left, after = carry_out(prepared, label="after repair")
    del prepared, survey
    return RepairReport(
        model=left,
        freed=watched.measure(),
        warnings=(
            *(
                f"{name!r} was deleted while merged: its change stays in the base weights; load them again."
                for name in lost
            ),
            *plan.warnings,
        ),
        before=before,
        after=after,
        baseline=baseline,
        actions=tuple(plan.actions),
    )


def _prepare(survey: Survey, before: Snapshot, baseline: Snapshot | None, lost: list[str]) -> Prepared:
    forgotten = not survey.holders  # up to PEFT 0.18 unloading leaves the configs on the plain model
    ghosts = [name for name in leftover_names(survey, baseline) if name not in lost]
    if forgotten:
        ghosts = list(survey.configs)
    earlier = earlier_of(survey, baseline)
    if earlier is not None and baseline is not None:
        flags = earlier.flags
        if survey.living and not forgotten:
            flags = _explained(survey, flags, had_adapters=bool(baseline.adapters))
        earlier = replace(earlier, flags=flags, settings=restorable(before, baseline))
    return prepare(survey, "", ghosts, unwrap=True, earlier=earlier, mend=True)


def leftover_names(survey: Survey, baseline: Snapshot | None = None) -> list[str]:
    """Names that live in the tree though no config knows them, in the order in which they are met.

    A store of a tuner's that holds buffers only and none of the known names is keyed by something else than adapters.
    """
    living = set(survey.living)
    found: dict[str, None] = {}
    for container in survey.containers:
        names = [name for name in container.keys if name not in living]
        of_tuner = handle_kind(container.owner.module) is not None
        if of_tuner and len(names) == len(container.keys):
            names = [name for name in names if next(parameters_under(container.module, name), None) is not None]
        found.update(dict.fromkeys(names))
        if is_buffer_dict(type(container.module)):  # it forgets a buffer, and not that the buffer was not to be saved
            slots = vars(container.module)
            found.update(dict.fromkeys(sorted(slots[NON_PERSISTENT] - slots["_buffers"].keys() - living)))
    once = {adapter.name for adapter in baseline.adapters} - living if baseline is not None else set()
    for holder in survey.holders:
        if is_wrapper(type(holder.module)):
            found.update(dict.fromkeys(_mentioned(holder.module, living, once | set(found))))
    return list(found)


def _mentioned(module: torch.nn.Module, living: set[str], gone: set[str]) -> list[str]:
    """Names in the attributes of one wrapper that must be adapters: they key a dictionary beside one, or several."""
    found: dict[str, None] = {}
    times: Counter[str] = Counter()
    for attribute, value in vars(module).items():
        if attribute == MENTIONED_ADAPTERS and isinstance(value, (set, frozenset)):
            found.update(dict.fromkeys(sorted(value - living)))
        if type(value) is not dict or attribute in UNSEARCHED:
            continue
        keys = [key for key in value if type(key) is str]
        if not living.isdisjoint(keys):
            found.update(dict.fromkeys(key for key in keys if key not in living))
        else:
            times.update(keys)
        found.update(dict.fromkeys(key for key in keys if key in gone))
    found.update(dict.fromkeys(name for name, count in times.items() if count > 1))
    return list(found)


def lost_while_merged(survey: Survey) -> list[str]:
    """Adapters that are merged somewhere and have no weights any more to be taken out with."""
    present = set(survey.names)
    merged: dict[str, None] = {}
    for holder in survey.holders:
        if is_peft_class(type(holder.module)):
            merged.update(dict.fromkeys(as_list(vars(holder.module).get(MERGED_OF_LAYER))))
    return [name for name in merged if name not in present]


def _explained(survey: Survey, flags: dict[int, bool], *, had_adapters: bool) -> dict[int, bool]:
    """Flags to restore while adapters live: PEFT freezes the base for them, and trains biases on request."""
    if any(map(trains_biases, survey.configs.values())):
        return {}
    adapters = {id(parameter) for container in survey.containers for parameter in container.module.parameters()}
    return {key: flag for key, flag in flags.items() if key not in adapters and (had_adapters or not flag)}
