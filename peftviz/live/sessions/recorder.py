"""Turns operations into the steps of a timeline: one capture before, one after, and what happened in between."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from peftviz.core.rows import BaseModel
from peftviz.core.snapshot import Snapshot
from peftviz.core.timeline import BY_HAND, OUTSIDE, OUTSIDE_LABEL, Step, Timeline
from peftviz.live.peft_facts import MERGING_OPERATIONS
from peftviz.live.sessions.arguments import message_text
from peftviz.live.sessions.drift import MergeGauge
from peftviz.live.sessions.operation import Operation
from peftviz.live.snapshots.base_model import base_of
from peftviz.live.snapshots.capture import capture


@dataclass(eq=False)
class _Entered:
    """A block operation that the user is inside of.

    Attributes:
        operation: The operation.
        shown: Whether a step says already that it was entered.
    """

    operation: Operation
    shown: bool = False


class Recorder:
    """Follows one model and writes its timeline.

    Attributes:
        model: The model to go on with.
        timeline: What was recorded.
    """

    def __init__(self, model: torch.nn.Module, *, values: str, changed: Callable[[], None]) -> None:
        """Captures the baseline.

        Args:
            model: The model to follow.
            values: How tensor values are recorded, as for `capture`.
            changed: Called after each new step.
        """
        self.model = model
        self.timeline = Timeline(capture(model, label="baseline", values=values))
        self._values = values
        self._changed = changed
        self._blocks: list[_Entered] = []
        self._gauge = MergeGauge()
        self._lock = threading.RLock()

    # What the interception asks and tells (`interception.Observer`) --------------------------------------------------

    def concerns(self, modules: Sequence[torch.nn.Module]) -> bool:
        """Whether one of these modules shares a module with the watched model."""
        ours = base_of(self.model)
        bases = {id(base): base for base in map(base_of, modules)}
        if id(ours) in bases:
            return True
        held = {id(module) for module in self.model.modules()}
        return any(id(module) in held for base in bases.values() for module in base.modules())

    def begin(self, operation: Operation) -> None:
        """Before an operation: what happened since the last one gets a step of its own."""
        with self._lock, _recording():
            self._catch_up()
            if operation.name in MERGING_OPERATIONS or operation.name == BY_HAND:
                self._gauge.before(self.model)

    def finish(self, operation: Operation, begun: None = None) -> None:
        """After an operation: its step."""
        with self._lock, _recording():
            self._follow(operation.result)
            self._append(operation, self._capture(operation.label))
        self._changed()

    def enter(self, operation: Operation) -> _Entered:
        """Before a block is entered. Its step is written when it is left, unless others come first."""
        entered = _Entered(operation)
        with self._lock:
            with _recording():
                self._catch_up()
            self._blocks.append(entered)
        return entered

    def leave(self, operation: Operation, entered: _Entered) -> None:
        """After a block was left."""
        with self._lock:
            self._blocks.remove(entered)
            if entered.shown:
                operation.label += " left"
            with _recording():
                self._append(operation, self._capture(operation.label))
        self._changed()

    # The rest ---------------------------------------------------------------------------------------------------------

    def catch_up(self) -> bool:
        """Looks at the model now.

        Returns:
            Whether it had changed since the last step; a step says so then.
        """
        with self._lock:
            found = self._catch_up()
        if found:
            self._changed()
        return found

    def _catch_up(self) -> bool:
        now = self._capture(OUTSIDE_LABEL)
        before = self.timeline.current
        if same_state(before, now):
            return False
        entered = [block for block in self._blocks if not block.shown]
        for block in entered:
            block.shown = True
        if entered:  # the state that the user's code finds inside the block
            operation = entered[-1].operation
            opened = Operation(operation.name, f"{operation.label} entered", operation.arguments)
            opened.duration, operation.duration = operation.duration, 0.0
            opened.warnings, operation.warnings = operation.warnings, []
        else:
            opened = Operation(OUTSIDE, _outside_label(before, now))
        self._append(opened, now)
        return True

    def _capture(self, label: str) -> Snapshot:
        return capture(self.model, label=label, values=self._values)

    def _append(self, operation: Operation, after: Snapshot) -> None:
        timeline = self.timeline
        before = timeline.current
        timeline.append(
            Step(
                label=operation.label,
                operation=operation.name,
                arguments=operation.arguments,
                duration=operation.duration,
                warnings=tuple(operation.warnings),
                error=operation.error,
                before=before,
                after=before if same_state(before, after) else after,
                baseline=timeline.baseline,
                drift=self._gauge.after(self.model),
            )
        )

    def _follow(self, result: object) -> None:
        """Goes on with what an operation returned, when it is the watched model in another handle."""
        if not isinstance(result, torch.nn.Module):
            result = vars(result).get("model") if hasattr(result, "__dict__") else None
        if isinstance(result, torch.nn.Module) and base_of(result) is base_of(self.model):
            self.model = result


@contextmanager
def _recording() -> Iterator[None]:
    """Turns a failure to record into a warning: the user's operation must not fail because it is watched."""
    try:
        yield
    except Exception as error:
        warnings.warn(f"peftviz could not record a step: {error!r}", RuntimeWarning, stacklevel=3)


NAMED = 3
"""How many entries of a base a label names."""


def _outside_label(before: Snapshot, now: Snapshot) -> str:
    """What to call changes that no recorded operation made; those that are in no diff are named."""
    changed = _changed_entries(before.base, now.base) if before == now else []
    if not changed:
        return OUTSIDE_LABEL
    more = f" and {len(changed) - NAMED:,} more" if len(changed) > NAMED else ""
    return message_text(f"{OUTSIDE_LABEL}: {', '.join(changed[:NAMED])}{more}")


def _changed_entries(then: BaseModel, now: BaseModel) -> list[str]:
    """What a base says otherwise than before: entries of its config, and attributes that came or went."""
    missing = object()
    entries = then.config.keys() | now.config.keys()
    other = {key for key in entries if then.config.get(key, missing) != now.config.get(key, missing)}
    return sorted({f"config.{key}" for key in other} | (set(then.attributes) ^ set(now.attributes)))


def same_state(a: Snapshot, b: Snapshot) -> bool:
    """Whether two states are equal and made of the same objects."""
    if a is b:
        return True
    if len(a.modules) != len(b.modules) or len(a.tensors) != len(b.tensors):
        return False
    same_objects = np.array_equal(a.modules.identity, b.modules.identity) and np.array_equal(
        a.tensors.identity, b.tensors.identity
    )
    return same_objects and a == b and a.base == b.base
