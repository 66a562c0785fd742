"""The modules that adapters are switched on and off in, grouped by what they say and hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from peftviz.core.rules.columns import distinct, once
from peftviz.core.rules.entries import find_sharers
from peftviz.core.tables import IntArray

if TYPE_CHECKING:
    from peftviz.core.rules.facts import Facts


@dataclass(frozen=True, eq=False)
class Switches:
    """Switchable modules that are alike: same state, same adapters inside, same handle above.

    Attributes:
        rows: Their module rows; of a wrapper that only passes on to a layer inside, the wrapper's.
        available: Names that they have weights for.
        active: Names that they run: active ones that are available; none while disabled.
        expected: Names that they ought to run, as far as they are available.
        lacking: Names that they are to run and have nothing of, where that makes their forward fail.
        disabled: Whether they are disabled.
        merged: Names merged into their base weights, as far as available.
        stuck: Names merged into their base weights that nothing is left of to take them out with.
        auxiliary: Whether they hold copies rather than layer weights.
        handle: Row of the handle above them, -1 for none.
    """

    rows: IntArray
    available: frozenset[str]
    active: frozenset[str]
    expected: frozenset[str]
    lacking: frozenset[str]
    disabled: bool
    merged: frozenset[str]
    stuck: frozenset[str]
    auxiliary: bool
    handle: int


def find_switches(facts: Facts) -> tuple[Switches, ...]:
    """Groups the modules that have weights of adapters; one state, one set of adapters, one handle a group."""
    snapshot = facts.snapshot
    handle_of = np.full(len(snapshot.modules), -1, np.int64)
    for row in facts.handles.tolist():  # the innermost handle decides
        handle_of[row : snapshot.subtree_end[row]] = row
    rows = facts.rows_with(state.active is not None for state in facts.states)
    holders = _holders(facts)
    available_of, sets = _available(facts, holders)
    own = (
        snapshot.modules.adapter[rows] == 0
    )  # what a copy of a wrapper says inside an adapter's entry counts for nothing
    inner, passing = _passed_on(facts, holders)
    rows = rows[own & (available_of[rows] > 0) & ~np.isin(rows, inner)]
    auxiliary = np.zeros(len(snapshot.modules), np.int64)
    copies = holders.auxiliary
    auxiliary[holders.holder[copies]] = auxiliary[holders.wrapper[copies]] = 1
    deciding = np.arange(len(snapshot.modules))
    deciding[passing] = inner
    states = snapshot.modules.state[deciding[rows]]
    passes = np.isin(rows, passing).astype(np.int64)
    found = list(distinct(states, available_of[rows], auxiliary[rows], handle_of[rows], passes))
    consensus = _consensus(facts, [(facts.states[code].active, len(at)) for code, _, aux, _, _, at in found if not aux])
    groups = []
    for code, available_code, aux, handle, passed_on, positions in found:
        state, available = facts.states[code], sets[available_code]
        noted = frozenset(state.active or ())
        reported = facts.state_of(handle).handle_active if handle >= 0 else consensus
        groups.append(
            Switches(
                rows=rows[positions],
                available=available,
                active=frozenset() if state.disabled else available & noted,
                expected=available & frozenset(reported or ()),
                lacking=noted - available if passed_on and not state.disabled else frozenset(),
                disabled=state.disabled,
                merged=available & frozenset(state.merged or ()),
                stuck=frozenset(state.merged or ()) - available,
                auxiliary=bool(aux),
                handle=handle,
            )
        )
    return tuple(sorted(groups, key=lambda group: int(group.rows[0])))


@dataclass(frozen=True, eq=False)
class _Holders:
    """Who has something of which adapter: the columns of `Entries` with that name, and those who share a container."""

    holder: IntArray
    wrapper: IntArray
    adapter: IntArray
    auxiliary: IntArray


def _holders(facts: Facts) -> _Holders:
    entries = facts.entries
    holder, wrapper, adapter = find_sharers(facts.snapshot, entries, facts.containers)
    return _Holders(
        np.concatenate([entries.holder, holder]),
        np.concatenate([entries.wrapper, wrapper]),
        np.concatenate([entries.adapter, adapter]),
        np.concatenate([entries.auxiliary, np.ones(len(holder), bool)]),
    )


def _passed_on(facts: Facts, holders: _Holders) -> tuple[IntArray, IntArray]:
    """Layers inside wrappers that call them whatever they note themselves, and those wrappers: the layer decides."""
    inside = holders.wrapper != holders.holder
    pairs = np.unique(np.stack([holders.holder[inside], holders.wrapper[inside]]), axis=1)
    switchable = np.array([facts.state_of(row).active is not None for row in pairs[1].tolist()], bool)
    return pairs[0][switchable], pairs[1][switchable]


def _available(facts: Facts, holders: _Holders) -> tuple[IntArray, list[frozenset[str]]]:
    """For each module row a code of the names it has weights for, 0 for none, and the sets behind the codes."""
    names = facts.snapshot.adapter_names
    holder = np.concatenate([holders.holder, holders.wrapper])
    adapter = np.concatenate([holders.adapter, holders.adapter])
    pairs = once(holder * len(names) + adapter)
    # Each name gets a random number, and a set of names the sum of them: equal sums are equal sets.
    numbers = np.random.default_rng(0).integers(1, 2**60, len(names), np.uint64)
    sums = np.zeros(len(facts.snapshot.modules), np.uint64)
    np.add.at(sums, pairs // len(names), numbers[pairs % len(names)])
    kinds = once(np.concatenate([np.zeros(1, np.uint64), sums]))
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
