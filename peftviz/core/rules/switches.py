"""The modules that adapters are switched on and off in, grouped by what they say and hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from peftviz.core.rules.columns import distinct
from peftviz.core.tables import IntArray

if TYPE_CHECKING:
    from peftviz.core.rules.facts import Facts


@dataclass(frozen=True, eq=False)
class Switches:
    """Switchable modules that are alike: same state, same adapters inside, same handle above.

    Attributes:
        rows: Their module rows.
        available: Names that they have weights for.
        active: Names that they run: active ones that are available; none while disabled.
        expected: Names that they ought to run, as far as they are available.
        disabled: Whether they are disabled.
        merged: Names merged into their base weights, as far as available.
        auxiliary: Whether they hold copies rather than layer weights.
        handle: Row of the handle above them, -1 for none.
    """

    rows: IntArray
    available: frozenset[str]
    active: frozenset[str]
    expected: frozenset[str]
    disabled: bool
    merged: frozenset[str]
    auxiliary: bool
    handle: int


def find_switches(facts: Facts) -> tuple[Switches, ...]:
    """Groups the modules that have weights of adapters; one state, one set of adapters, one handle a group."""
    snapshot = facts.snapshot
    handle_of = np.full(len(snapshot.modules), -1, np.int64)
    for row in facts.handles.tolist():  # the innermost handle decides
        handle_of[row : snapshot.subtree_end[row]] = row
    rows = facts.rows_with(state.active is not None for state in facts.states)
    available_of, sets = _available(facts)
    own = (
        snapshot.modules.adapter[rows] == 0
    )  # what a copy of a wrapper says inside an adapter's entry counts for nothing
    rows = rows[own & (available_of[rows] > 0) & ~np.isin(rows, _echoes(facts))]
    auxiliary = np.zeros(len(snapshot.modules), np.int64)
    copies = facts.entries.auxiliary
    auxiliary[facts.entries.holder[copies]] = auxiliary[facts.entries.wrapper[copies]] = 1
    found = list(distinct(snapshot.modules.state[rows], available_of[rows], auxiliary[rows], handle_of[rows]))
    consensus = _consensus(facts, [(facts.states[code].active, len(at)) for code, _, aux, _, at in found if not aux])
    groups = []
    for code, available_code, aux, handle, positions in found:
        state, available = facts.states[code], sets[available_code]
        reported = facts.state_of(handle).handle_active if handle >= 0 else consensus
        groups.append(
            Switches(
                rows=rows[positions],
                available=available,
                active=frozenset() if state.disabled else available & frozenset(state.active or ()),
                expected=available & frozenset(reported or ()),
                disabled=state.disabled,
                merged=available & frozenset(state.merged or ()),
                auxiliary=bool(aux),
                handle=handle,
            )
        )
    return tuple(sorted(groups, key=lambda group: int(group.rows[0])))


def _echoes(facts: Facts) -> list[int]:
    """Rows of modules inside a wrapper that says just the same: the wrapper speaks for both."""
    inside = facts.entries.wrapper != facts.entries.holder
    pairs = set(zip(facts.entries.wrapper[inside].tolist(), facts.entries.holder[inside].tolist(), strict=True))
    echoes = []
    for outer, inner in pairs:
        wrapper, module = facts.state_of(outer), facts.state_of(inner)
        said = [(frozenset(state.active or ()), state.disabled) for state in (wrapper, module)]
        if wrapper.active is not None and said[0] == said[1]:
            echoes.append(inner)
    return echoes


def _available(facts: Facts) -> tuple[IntArray, list[frozenset[str]]]:
    """For each module row a code of the names it has weights for, 0 for none, and the sets behind the codes."""
    entries, names = facts.entries, facts.snapshot.adapter_names
    holder = np.concatenate([entries.holder, entries.wrapper])
    adapter = np.concatenate([entries.adapter, entries.adapter])
    pairs = np.unique(holder * len(names) + adapter)
    # Each name gets a random number, and a set of names the sum of them: equal sums are equal sets.
    numbers = np.random.default_rng(0).integers(1, 2**60, len(names), np.uint64)
    sums = np.zeros(len(facts.snapshot.modules), np.uint64)
    np.add.at(sums, pairs // len(names), numbers[pairs % len(names)])
    kinds = np.unique(np.concatenate([np.zeros(1, np.uint64), sums]))
    codes = np.searchsorted(kinds, sums)
    sets: list[frozenset[str]] = [frozenset()]
    for code in range(1, len(kinds)):
        row = int(np.argmax(codes == code))
        start, stop = np.searchsorted(pairs, [row * len(names), (row + 1) * len(names)])
        sets.append(frozenset(names[pair % len(names)] for pair in pairs[start:stop].tolist()))
    return codes, sets


def _consensus(facts: Facts, layers: list[tuple[tuple[str, ...] | None, int]]) -> tuple[str, ...]:
    """What most layers say, for models whose handle does not say it itself."""
    votes: Counter[tuple[str, ...]] = Counter()
    for active, count in layers:
        votes[active or ()] += count
    if not votes:
        return facts.snapshot.adapter_state.active
    return min(votes, key=lambda names: (-votes[names], names))
