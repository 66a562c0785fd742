"""The steps that led to a state, and which of them made a tensor what it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from peftviz.core.tables import IntArray

if TYPE_CHECKING:
    from peftviz.core.timeline import Step

UNKNOWN = -1


class History:
    """Steps that follow one another; false when there are none.

    Attributes:
        steps: The steps, oldest first; the last one leads to the state that is judged.
    """

    def __init__(self, steps: Sequence[Step] = ()) -> None:
        self.steps = tuple(steps)

    def __len__(self) -> int:
        return len(self.steps)

    def last_change(self, rows: IntArray, field: str) -> IntArray:
        """The step in which a field of some tensors last changed.

        Args:
            rows: Tensor rows of the state after the last step.
            field: A field of a tensor change, as in `"requires_grad"` or `"values"`.

        Returns:
            Index into `steps` for each row, or `UNKNOWN` where no step did it. Shape as `rows`.
        """
        found = np.full(len(rows), UNKNOWN, np.int64)
        current = np.array(rows, np.int64)
        for index in range(len(self.steps) - 1, -1, -1):
            open_ = np.flatnonzero((found == UNKNOWN) & (current >= 0))
            if not len(open_):
                break
            step = self.steps[index]
            if step.before is step.after:
                continue
            changed = step.diff.tensor_fields[field][current[open_]]
            found[open_[changed]] = index
            current = np.where(current >= 0, step.diff.tensor_source[np.maximum(current, 0)], -1)
        return found

    def came_with(self, row: int) -> int:
        """The step that put a module of the state after the last step into the model, by identity.

        Args:
            row: Module row of that state.

        Returns:
            Index into `steps`, or `UNKNOWN` where the module was there before all of them.
        """
        if not self.steps:
            return UNKNOWN
        after = self.steps[-1].after
        identity = after.modules.identity[row]
        for index in range(len(self.steps) - 1, -1, -1):
            before = self.steps[index].before
            if before is self.steps[index].after:
                continue
            if before.scope is not after.scope or not (before.modules.identity == identity).any():
                return index
        return UNKNOWN

    def told(self, changed: IntArray) -> list[dict[str, Any]]:
        """Evidence for what `last_change` found: each step with its number of rows, in order; empty when none is known.

        Steps are numbered from 1, as readers see them.
        """
        return [
            {**self.name(index), "parameters": int(np.count_nonzero(changed == index))}
            for index in np.unique(changed[changed != UNKNOWN]).tolist()
        ]

    def name(self, index: int) -> dict[str, Any]:
        """Number, label and operation of one step."""
        step = self.steps[index]
        return {"step": index + 1, "label": step.label, "operation": step.operation}

    def drifts(self, paths: Sequence[str]) -> Iterator[tuple[int, float, float]]:
        """What was measured when merges of some tensors were undone.

        Args:
            paths: Paths of tensors in the state after the last step.

        Yields:
            Index of the step, largest difference, and largest value beside it, for each step that measured one.
        """
        wanted = set(paths)
        for index, step in enumerate(self.steps):
            measured = [drift for drift in step.drift if drift.path in wanted]
            if measured:
                worst = max(measured, key=lambda drift: drift.difference)
                yield index, worst.difference, worst.scale


def cause_in_words(steps: Sequence[dict[str, Any]]) -> str:
    """`" (step 2, add_adapter('b'))"` for a message; `""` when no step is known."""
    if not steps:
        return ""
    first, *others = steps
    more = f" and {len(others)} more" if others else ""
    return f" (step {first['step']}, {first['label']}{more})"
