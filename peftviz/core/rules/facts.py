"""What the rules share: one snapshot, its baseline, and what both imply, derived once and by whole columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from peftviz.core.rules.columns import once
from peftviz.core.rules.entries import Entries, container_rows, find_entries
from peftviz.core.rules.history import History
from peftviz.core.rules.states import StateFacts, read_state
from peftviz.core.rules.switches import Switches, find_switches
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import IntArray, ModuleFlag, Role

if TYPE_CHECKING:
    from peftviz.core.diff import Diff
    from peftviz.core.rows import OptimizerRow
    from peftviz.core.timeline import Step

HANDLE_CHILD = "base_model"
"""PEFT's handles hold the tuner, or for prompt learning the model itself, under this name."""


class Facts:
    """A snapshot with what can be concluded from it.

    Attributes:
        snapshot: The state to judge.
        baseline: An earlier state of the same model, or None.
        history: The steps that led to the state, as far as they were recorded.
        optimizers: The optimizers that train the model, as far as they were given.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        baseline: Snapshot | None = None,
        history: Sequence[Step] = (),
        optimizers: Sequence[OptimizerRow] = (),
    ) -> None:
        self.snapshot = snapshot
        self.baseline = baseline
        self.history = History(history)
        self.optimizers = tuple(optimizers)

    # The tree -----------------------------------------------------------------------------------------------------

    @cached_property
    def containers(self) -> IntArray:
        """For each module row, whether it is keyed by adapter names. Shape `(modules,)`, bool."""
        return container_rows(self.snapshot)

    @cached_property
    def entries(self) -> Entries:
        """What adapters own in the tree."""
        return find_entries(self.snapshot, self.containers)

    @cached_property
    def peft(self) -> IntArray:
        """For each module row, whether its class is PEFT's. Shape `(modules,)`, bool."""
        return np.asarray((self.snapshot.modules.flags & ModuleFlag.PEFT_CLASS) != 0)

    @cached_property
    def states(self) -> tuple[StateFacts, ...]:
        """What each entry of `snapshot.states` says."""
        return tuple(read_state(text) for text in self.snapshot.states)

    def state_of(self, row: int) -> StateFacts:
        """What the state of one module says."""
        return self.states[int(self.snapshot.modules.state[row])]

    def rows_with(self, chosen: Iterable[bool]) -> IntArray:
        """Rows of PEFT's modules whose distinct state is chosen; aliases are left out.

        Args:
            chosen: One verdict for each entry of `snapshot.states`.
        """
        wanted = np.fromiter(chosen, bool, len(self.states))[self.snapshot.modules.state]
        wanted &= self.peft & (self.snapshot.modules.state != 0)
        wanted[self.snapshot.modules.alias_rows] = False
        return np.flatnonzero(wanted)

    # Names --------------------------------------------------------------------------------------------------------

    @cached_property
    def registries(self) -> tuple[tuple[int, int, frozenset[str]], ...]:
        """Of each config registry its row, the end of its subtree, and the names it lists."""
        found = []
        for path, names in self.snapshot.adapter_state.registries:
            row = self.snapshot.find_module(path) or 0
            found.append((row, int(self.snapshot.subtree_end[row]), frozenset(names)))
        return tuple(found)

    @cached_property
    def scope(self) -> IntArray:
        """For each module row, which registries are around or below it, as a code; 0 stands for none. `(modules,)`."""
        rows = np.arange(len(self.snapshot.modules))
        scope = np.zeros(len(rows), np.int64)
        for number, (start, stop, _) in enumerate(self.registries):
            near = (rows >= start) & (rows < stop) | (rows <= start) & (self.snapshot.subtree_end > start)
            scope |= near.astype(np.int64) << min(number, 62)
        return scope

    def known_names(self, scope: int) -> frozenset[str]:
        """The names that the registries of one scope list; without any registry, those with weights in a layer."""
        if scope:
            return frozenset().union(*self._listed(scope))
        entries = self.entries
        living = ~self.unknown & (self.scope[entries.holder] == 0)
        return frozenset(self.snapshot.adapter_names[code] for code in once(entries.adapter[living]))

    def _listed(self, scope: int) -> list[frozenset[str]]:
        return [names for number, (_, _, names) in enumerate(self.registries) if scope >> min(number, 62) & 1]

    @cached_property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """For each entry, whether no config registry near it knows its name. Shape `(entries,)`, bool.

        Where there is no registry at all (transformers deletes its own with the last adapter) a name is unknown
        when it has copies and deltas only and no weight in any of the tuner layers.
        """
        entries, names = self.entries, self.snapshot.adapter_names
        scopes = self.scope[entries.holder]
        unknown = np.zeros(len(entries), bool)
        for scope in once(scopes).tolist():
            here = scopes == scope
            if scope:
                listed = self.known_names(scope)
                unknown |= here & np.array([name not in listed for name in names], bool)[entries.adapter]
            elif self.tuner_layers.size:
                with_layers = np.zeros(len(names), bool)
                with_layers[entries.adapter[here & ~entries.auxiliary]] = True
                unknown |= here & entries.auxiliary & ~with_layers[entries.adapter]
        return unknown & ~self._keyed_otherwise(unknown)

    def _keyed_otherwise(self, unknown: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """For each entry, whether it is in a store of buffers that a tuner keys by something else than adapters.

        FRoD keys its projections by kind of layer. Such a store belongs to the tuner, holds no parameters, and none
        of its keys is or ever was the name of an adapter.
        """
        entries = self.entries
        once = np.array([name in self.once_known for name in self.snapshot.adapter_names], bool)[entries.adapter]
        of_tuner = np.isin(entries.holder, [start for start, _, _ in self.registries])
        in_layers = np.isin(entries.adapter, entries.adapter[~of_tuner])
        name_like = ~unknown | once | in_layers | (entries.parameters > 0)
        return of_tuner & ~np.isin(entries.container, entries.container[name_like])

    @cached_property
    def tuner_layers(self) -> IntArray:
        """Rows of the layers that can merge adapters, those inside auxiliary wrappers left out."""
        layers = self.rows_with(state.merged is not None for state in self.states)
        inside = once(self.entries.holder[self.entries.auxiliary])
        return layers[~np.isin(layers, inside)]

    @cached_property
    def handles(self) -> IntArray:
        """Rows of the tuners and `PeftModel`s that report an active adapter."""
        return self.rows_with(state.handle_active is not None for state in self.states)

    @cached_property
    def composite(self) -> bool:
        """Whether a tuner of PEFT's runs another one for its own purposes, as X-LoRA does with LoRA.

        The registry then names an adapter whose weights are the outer tuner's own.
        """
        modules, names = self.snapshot.modules, self.snapshot.names
        tuners = [start for start, _, _ in self.registries if start > 0 and self.peft[start]]
        return any(self.peft[modules.parent[row]] and names[modules.name[row]] != HANDLE_CHILD for row in tuners)

    @cached_property
    def switches(self) -> tuple[Switches, ...]:
        """The modules that adapters are switched on and off in, grouped."""
        return find_switches(self)

    @cached_property
    def all_known(self) -> frozenset[str]:
        """Every name that some registry lists."""
        return frozenset(name for _, names in self.snapshot.adapter_state.registries for name in names)

    @cached_property
    def once_known(self) -> frozenset[str]:
        """Names that a registry of the baseline listed."""
        if self.baseline is None:
            return frozenset()
        return frozenset(name for _, names in self.baseline.adapter_state.registries for name in names)

    # Against the baseline -------------------------------------------------------------------------------------------

    @cached_property
    def diff(self) -> Diff:
        """From the baseline to the snapshot.

        Raises:
            ValueError: There is no baseline.
        """
        from peftviz.core.diff import diff

        if self.baseline is None:
            raise ValueError("a rule asked for the diff from a baseline that is not there")
        return diff(self.baseline, self.snapshot)

    @cached_property
    def base_tensors(self) -> npt.NDArray[np.bool_]:
        """For each tensor row, whether it belongs to the base model. Shape `(tensors,)`, bool."""
        return np.asarray(np.isin(self.snapshot.tensors.role, (Role.BASE, Role.WRAPPED)))


def alike(path: str) -> str:
    """A path with the numbers in it replaced by stars: layers of one kind have this in common."""
    return ".".join("*" if part.isdigit() else part for part in path.split("."))


def quoted(names: Iterable[str]) -> str:
    """Adapter names for a sentence."""
    return ", ".join(repr(name) for name in names) or "none"
