"""What an operation on adapters is going to do, as data: switching, enabling, disabling, merging, unmerging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peftviz.core.display import Displayed
from peftviz.core.plan import MAX_LINES, Action
from peftviz.core.quantities import format_bytes

HEADS = {
    "set_adapter": "Make {names} active in this {handle} model",
    "enable_adapters": "Enable the adapters of this {handle} model",
    "disable_adapters": "Disable the adapters of this {handle} model",
    "merge_adapter": "Merge {names} into the base weights of this {handle} model",
    "unmerge_adapter": "Take {names} out of the base weights of this {handle} model",
    "unload": "Take {names} off this {handle} model; the plain base model is left",
    "merge_and_unload": "Merge what is active into the base, then take {names} off this {handle} model",
}
"""First line of the plan, by operation."""


@dataclass(frozen=True)
class OperationPlan(Displayed):
    """What a session will do to the adapters of its model; looking at it changes nothing.

    Attributes:
        operation: `"set_adapter"`, `"enable_adapters"`, `"disable_adapters"`, `"merge_adapter"`, `"unmerge_adapter"`,
            `"unload"` or `"merge_and_unload"`.
        adapters: The adapters it is about.
        handle: Kind of model: `"PeftModel"`, `"PeftMixedModel"`, `"tuner"`, `"transformers"` or `"injected"`.
        actions: Every change, in order; empty when the model is in that state already.
        nbytes: Bytes of base weights that are rewritten, and of which a copy is kept until it is done.
        warnings: What the reader should know before.
    """

    operation: str
    adapters: tuple[str, ...]
    handle: str
    actions: Sequence[Action]
    nbytes: int = 0
    warnings: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The plan as lines of plain text, the long lists cut."""
        names = ", ".join(map(repr, self.adapters)) or "no adapter"
        lines = [HEADS[self.operation].format(names=names, handle=self.handle)]
        if not self.actions:
            lines.append("  nothing to change")
        kinds = dict.fromkeys(action.kind for action in self.actions)
        for kind in kinds:
            found = [action for action in self.actions if action.kind == kind]
            lines.append(f"  {kind:<10} {len(found)}")
            lines.extend(f"    {action.path or '(model)'}: {action.detail}" for action in found[:MAX_LINES])
            if len(found) > MAX_LINES:
                lines.append(f"    ... and {len(found) - MAX_LINES} more")
        if self.nbytes:
            lines.append(f"  rewrites   {format_bytes(self.nbytes)} of base weights; a copy is kept until it is done")
        lines.extend(f"  warning    {warning}" for warning in self.warnings)
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())
