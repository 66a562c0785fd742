"""What a deletion is going to do and what it freed, as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

from peftviz.core.display import Displayed
from peftviz.core.paths import Paths
from peftviz.core.quantities import format_bytes, plural

MAX_LINES = 12
"""So many places are named one by one in the text of a plan before the rest is counted."""


@dataclass(frozen=True)
class Action:
    """One change that a plan announces.

    Attributes:
        kind: `"unmerge"`, `"remove"` (an entry of a container or dictionary), `"detach"` or `"attach"` (a hook),
            `"activate"`, `"deactivate"`, `"train"`, `"freeze"`, `"unwrap"`, `"forget"` (a config or a mention of the
            name), `"restore"`, `"cast"` (to another dtype) or `"merge"`.
        path: Path of the module concerned; `""` is the model itself.
        detail: What exactly happens there.
    """

    kind: str
    path: str
    detail: str


Noted = tuple[str, int, str, str]
"""An action as it is noted: kind, record of a module, name below that, detail."""


class Actions(Sequence[Action]):
    """The actions of a plan; their paths are spelled out when they are read, which few of a large plan are.

    Args:
        noted: The actions in the order in which they are carried out.
        paths: Path of each record.
    """

    def __init__(self, noted: Sequence[Noted], paths: Paths) -> None:
        self._noted = noted
        self._paths = paths

    def __len__(self) -> int:
        return len(self._noted)

    @overload
    def __getitem__(self, index: int) -> Action: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Action, ...]: ...
    def __getitem__(self, index: int | slice) -> Action | tuple[Action, ...]:
        if isinstance(index, slice):
            return tuple(self._read(noted) for noted in self._noted[index])
        return self._read(self._noted[index])

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (Actions, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    def _read(self, noted: Noted) -> Action:
        kind, record, name, detail = noted
        return Action(kind, self._paths.below(record, name), detail)


@dataclass(frozen=True)
class DeletionPlan(Displayed):
    """What `delete_adapter` will do; looking at it changes nothing.

    Attributes:
        adapter: The adapter to delete.
        handle: Kind of model: `"PeftModel"`, `"PeftMixedModel"`, `"tuner"`, `"transformers"` or `"injected"`.
        actions: Every change, in the order in which it is made.
        names: Names that will be gone: the adapter, its experts, and with the last adapter the leftovers of others.
        active_before: Active adapters now.
        next_active: Active adapters afterwards.
        remaining: Adapters that stay, in config order.
        tensors: Number of tensors that are removed.
        nbytes: Bytes of their storages, each counted once, storages that the rest of the model shares left out.
        is_last: Whether no adapter is left afterwards.
        unwrap: Whether wrappers that nobody needs any more are taken off.
        warnings: What cannot be restored.
        experts: Adapters that go with it because it is made of them.
    """

    adapter: str
    handle: str
    actions: Sequence[Action]
    names: tuple[str, ...]
    active_before: tuple[str, ...]
    next_active: tuple[str, ...]
    remaining: tuple[str, ...]
    tensors: int
    nbytes: int
    is_last: bool
    unwrap: bool
    warnings: tuple[str, ...] = ()
    experts: tuple[str, ...] = ()

    @property
    def bytes_freed(self) -> int:
        """Bytes that the deletion should free."""
        return self.nbytes

    @property
    def counts(self) -> dict[str, int]:
        """Number of actions of each kind, in the order of their first occurrence."""
        return dict(Counter(action.kind for action in self.actions))

    def lines(self) -> list[str]:
        """The plan as lines of plain text, the long lists cut."""
        lines = [f"Delete adapter {self.adapter!r} from this {self.handle} model"]
        lines.append(f"  removes   {plural(self.tensors, 'tensor')}, {format_bytes(self.nbytes)}")
        if self.is_last:
            lines.append(
                "  last one  the plain base model is left" if self.unwrap else "  last one  empty wrappers are kept"
            )
        else:
            lines.append(f"  stays     {', '.join(map(repr, self.remaining)) or 'nothing registered'}")
        if self.next_active != self.active_before:
            lines.append(f"  active    {_names(self.active_before)} -> {_names(self.next_active)}")
        lines.extend(f"  expert    {name!r} goes with it" for name in self.experts)
        others = [name for name in self.names if name != self.adapter and name not in self.experts]
        lines.extend(f"  leftover  {name!r}, which no config knows, goes too" for name in others)
        for kind, count in self.counts.items():
            lines.append(f"  {kind:<9} {count}")
            shown = [action for action in self.actions if action.kind == kind][:MAX_LINES]
            lines.extend(f"    {action.path or '(model)'}: {action.detail}" for action in shown)
            if count > len(shown):
                lines.append(f"    ... and {count - len(shown)} more")
        lines.extend(f"  warning   {warning}" for warning in self.warnings)
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


@dataclass(frozen=True)
class Freed:
    """What became of the tensors that were removed.

    Attributes:
        bytes: Bytes of storages that are gone, proven by weak references.
        tensors: Number of tensors that are gone.
        alive: Path of each tensor that something still holds, and who, in words.
    """

    bytes: int = 0
    tensors: int = 0
    alive: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())

    def lines(self) -> list[str]:
        """The proof as lines of plain text."""
        lines = [f"freed {plural(self.tensors, 'tensor')}, {format_bytes(self.bytes)}"]
        for path, holders in self.alive[:MAX_LINES]:
            lines.append(f"  still alive: {path}, held by {'; '.join(holders) or 'something unknown'}")
        if len(self.alive) > MAX_LINES:
            lines.append(f"  ... and {len(self.alive) - MAX_LINES} more still alive")
        return lines


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names)) or "none"
