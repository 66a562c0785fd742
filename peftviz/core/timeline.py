"""What a session recorded: the steps, and the states of the model between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, overload

from peftviz.core.display import Displayed
from peftviz.core.rows import Totals
from peftviz.core.snapshot import Snapshot
from peftviz.errors import LookupFailure

if TYPE_CHECKING:
    from peftviz.core.audit import Audit
    from peftviz.core.diff import Diff
    from peftviz.core.finding import Finding

BY_HAND = "step"
"""`Step.operation` of what the reader did inside `session.step(label)`."""

OUTSIDE = "outside"
"""`Step.operation` of changes that were found when the next operation began, made by no recorded operation."""

OUTSIDE_LABEL = "changes outside a recorded operation"


@dataclass(frozen=True)
class Drift:
    """How far a weight is from what it was before adapters were merged into it and taken out again: rounding.

    Attributes:
        path: Path of the tensor in the state after the step.
        difference: Largest absolute difference among the elements compared, in the unit of the weight.
        scale: Largest absolute value among them, before and while adapters were merged.
        compared: Number of elements compared; the tensor may have more.
    """

    path: str
    difference: float
    scale: float
    compared: int


@dataclass(frozen=True)
class Step(Displayed):
    """One thing that happened to the model, and the states before and after it.

    Attributes:
        label: What to call it, as in `"add_adapter('b')"`.
        operation: Name of the operation as the user called it, as in `"get_peft_model"`; `"step"` for one made by
            hand, `"outside"` for changes that no recorded operation made.
        arguments: Short texts of the arguments that were passed, by parameter name.
        duration: Seconds that the operation itself took, without what the session did around it.
        warnings: The Python warnings raised meanwhile, as `"UserWarning: text"`, in order.
        error: The exception as `"KeyError: 'b'"` when the operation raised, else None.
        before: The state before.
        after: The state after, whether it raised or not.
        baseline: The state that findings are judged against, or None.
        drift: Weights that unmerging did not give back exactly, in the order of the tree.
        previous: The step before this one, or None. `Timeline.append` sets it.
    """

    label: str
    operation: str
    before: Snapshot = field(repr=False)
    after: Snapshot = field(repr=False)
    arguments: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    duration: float = field(default=0.0, repr=False, compare=False)
    warnings: tuple[str, ...] = ()
    error: str | None = None
    baseline: Snapshot | None = field(default=None, repr=False, compare=False)
    drift: tuple[Drift, ...] = field(default=(), repr=False)
    previous: Step | None = field(default=None, repr=False, compare=False)

    @cached_property
    def diff(self) -> Diff:
        """What changed, compared when first looked at."""
        from peftviz.core.diff import diff

        return diff(self.before, self.after)

    @property
    def history(self) -> tuple[Step, ...]:
        """The steps up to this one, oldest first, itself included."""
        steps = [self]
        while (before := steps[-1].previous) is not None:
            steps.append(before)
        return tuple(reversed(steps))

    @cached_property
    def audit(self) -> Audit:
        """What is to be said about the state after, judged when first looked at.

        `evidence["since"]` of a finding names the step that brought it about, where that is known.
        """
        from peftviz.core.audit import audit_step

        return audit_step(self)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings about the state after."""
        return tuple(self.audit)

    @property
    def failed(self) -> bool:
        """Whether the operation raised."""
        return self.error is not None


class Timeline(Displayed, Sequence[Step]):
    """The steps of a session in order, between the states that they lead from and to.

    A sequence of steps. While a session is open it grows at the end; nothing in it is ever changed or removed.
    `snapshots[i]` is the state before step `i`, and `snapshots[i + 1]` the state after it.
    """

    def __init__(self, baseline: Snapshot, steps: Iterable[Step] = ()) -> None:
        """Starts a timeline.

        Args:
            baseline: The state in which the first step finds the model.
            steps: Steps that follow one another.

        Raises:
            ValueError: A step does not begin in the state in which the one before ended.
        """
        self.baseline = baseline
        self._steps: list[Step] = []
        self._diffs: dict[tuple[int, int], Diff] = {}
        for step in steps:
            self.append(step)

    def append(self, step: Step) -> None:
        """Adds a step at the end, linked to the one before it.

        Raises:
            ValueError: The step does not begin in the state in which the one before ended.
        """
        if step.before is not self.current:
            raise ValueError(f"step {step.label!r} does not begin in the last state of the timeline")
        self._steps.append(replace(step, previous=self._steps[-1]) if self._steps else step)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps so far."""
        return tuple(self._steps)

    @property
    def current(self) -> Snapshot:
        """The last known state."""
        return self._steps[-1].after if self._steps else self.baseline

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The baseline and the state after each step: one more than there are steps."""
        return (self.baseline, *(step.after for step in self._steps))

    @property
    def totals(self) -> tuple[Totals, ...]:
        """Sums of each of `snapshots`, for a curve of memory over the steps."""
        return tuple(snapshot.totals for snapshot in self.snapshots)

    def diff(self, before: int = 0, after: int = -1) -> Diff:
        """Compares any two states.

        Args:
            before: Index into `snapshots`; 0 is the baseline.
            after: Index into `snapshots`; -1 is the last state.

        Raises:
            LookupFailure: There is no such state.
        """
        from peftviz.core.diff import diff

        first, second = self._index(before), self._index(after)
        if second == first + 1:
            return self._steps[first].diff
        if (first, second) not in self._diffs:
            states = self.snapshots
            self._diffs[first, second] = diff(states[first], states[second])
        return self._diffs[first, second]

    def _index(self, index: int) -> int:
        count = len(self._steps) + 1
        if not -count <= index < count:
            raise LookupFailure(
                f"The timeline has no state {index}.",
                where=f"timeline of {count_steps(count - 1)}",
                hint=f"States are numbered 0 (the baseline) to {count - 1}; negative numbers count from the end.",
            )
        return index % count

    @overload
    def __getitem__(self, index: int) -> Step: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Step, ...]: ...

    def __getitem__(self, index: int | slice) -> Step | tuple[Step, ...]:
        return tuple(self._steps[index]) if isinstance(index, slice) else self._steps[index]

    def __len__(self) -> int:
        return len(self._steps)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Timeline):
            return NotImplemented
        return self.baseline == other.baseline and self._steps == other._steps

    __hash__ = object.__hash__

    def save(self, path: str | Path, *, time: bool = False) -> Path:
        """Writes the steps and the states between them to one file.

        Args:
            path: Where to; the folder must exist.
            time: Whether to write times and durations too, which differ in each run.

        Returns:
            The path written.
        """
        from peftviz.core.timeline_file import save_timeline

        return save_timeline(self, path, time=time)

    @staticmethod
    def load(path: str | Path) -> Timeline:
        """Reads what `save` wrote. Needs neither torch nor peft.

        Raises:
            SnapshotFileError: The file is no timeline, damaged, hostile, or of a newer schema.
        """
        from peftviz.core.timeline_file import load_timeline

        return load_timeline(path)

    def __repr__(self) -> str:
        return f"Timeline({count_steps(len(self))} from {self.baseline.root_class})"


def count_steps(number: int) -> str:
    """`"1 step"`, `"2 steps"`."""
    return f"{number} step" if number == 1 else f"{number} steps"
