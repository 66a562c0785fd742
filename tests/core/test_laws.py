"""The laws of snapshots and diffs, on random trees and random edits."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from peftviz.core.diff import Kind, diff, word
from peftviz.core.patch import patch
from peftviz.core.serialize import load, load_many, save, save_many
from peftviz.core.snapshot import Snapshot
from peftviz.core.wellformed import problem
from tests.core.stand_in import Model, Node, Slot, Storage, Tensor
from tests.core.strategies import histories, models, snapshots

QUICK = settings(deadline=None, max_examples=2000, phases=[Phase.generate], database=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws")


def far_apart(snapshot: Snapshot) -> Snapshot:
    """The same objects after much else was given a serial number."""
    other = copy.copy(snapshot)
    other.modules = replace(other.modules, identity=other.modules.identity.astype(np.int64) * 10**9)
    other.tensors = replace(other.tensors, identity=other.tensors.identity.astype(np.int64) * 10**9)
    return other


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Snapshot, Snapshot]:
    """Two related snapshots, of one process or of two."""
    first, second = draw(histories())
    if draw(st.booleans()):
        second = second.elsewhere()
    return first.snapshot(), second.snapshot()


# Snapshots --------------------------------------------------------------------------------------------------------


@given(histories(states=3))
def test_snapshots_are_well_formed(history: list[Model]) -> None:
    assert [problem(model.snapshot()) for model in history] == [None, None, None]


@given(models())
def test_equality_ignores_label_environment_and_serial_numbers(model: Model) -> None:
    other = model.elsewhere()
    other.label, other.environment = "other", {"torch": "0.0"}
    assert model.snapshot() == other.snapshot()


@given(histories(states=3, most_edits=1))
def test_equality_is_an_equivalence(history: list[Model]) -> None:
    a, b, c = (model.snapshot() for model in history)
    assert a == a
    assert (a == b) == (b == a)
    assert not (a == b and b == c) or a == c


@given(models())
def test_totals_are_those_of_a_naive_count(model: Model) -> None:
    snapshot = model.snapshot()
    slots = model.slots()
    first = {}  # storage -> the tensor that names its size
    for slot in slots:
        first.setdefault(id(slot.tensor.storage), slot.tensor)
    size = {
        key: leader.spec.nbytes if leader.storage.nbytes is None else leader.storage.nbytes
        for key, leader in first.items()
    }
    room = {
        key: nbytes // (first[key].spec.nbytes // max(1, first[key].spec.numel) or 1) for key, nbytes in size.items()
    }
    parameters = trainable = 0
    seen = set()
    for slot in slots:
        tensor = slot.tensor
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        key = id(tensor.storage)
        counted = tensor.spec.numel
        if sum(other.tensor.storage is tensor.storage for other in slots) > 1:
            counted = min(counted, room[key])
            room[key] -= counted
        parameters += 0 if slot.buffer else counted
        trainable += counted if tensor.requires_grad and not slot.buffer else 0
    assert (len(model.nodes()), parameters, trainable, sum(size.values())) == (
        snapshot.totals.modules,
        snapshot.totals.parameters,
        snapshot.totals.trainable,
        snapshot.totals.bytes,
    )


@given(models())
def test_every_path_leads_back_to_its_row(model: Model) -> None:
    snapshot = model.snapshot()
    children = defaultdict(list)
    for row, parent, *_ in model.places():
        children[parent].append(row)
    for row, path in enumerate(snapshot.module_paths()):
        assert (row, path) == (snapshot.find_module(path), snapshot.module_path(row))
        assert children[row] == snapshot.child_rows(row).tolist()
        assert snapshot.subtree_end[row] == row + 1 + sum(
            other.startswith(f"{path}.") or not path for other in snapshot.module_paths()[row + 1 :]
        )
    for row, path in enumerate(snapshot.tensor_paths()):
        assert (row, path) == (snapshot.find_tensor(path), snapshot.tensor_path(row))


@pytest.mark.parametrize("kind", [word(kind) for kind in Kind])
def test_the_random_edits_reach_every_kind_of_change(kind: str) -> None:
    def reached(states: list[Model]) -> bool:
        before, after = (model.snapshot() for model in states)
        changes = diff(before, after)
        return kind in changes.counts or kind in changes.reverse().counts

    find(histories(), reached, settings=QUICK)


# Diff and patch ---------------------------------------------------------------------------------------------------


@given(models())
def test_nothing_differs_from_itself(model: Model) -> None:
    snapshot = model.snapshot()
    assert not diff(snapshot, snapshot)
    assert not diff(snapshot, model.copy().snapshot())
    assert not diff(snapshot, model.elsewhere().snapshot())


@given(pairs())
def test_patch_applies_what_diff_found(pair: tuple[Snapshot, Snapshot]) -> None:
    before, after = pair
    patched = patch(before, diff(before, after))
    assert after == patched
    assert problem(patched) is None


@given(histories())
def test_serial_numbers_far_apart_match_like_those_close_together(history: list[Model]) -> None:
    before, after = (model.snapshot() for model in history)
    assert diff(before, after) == diff(far_apart(before), far_apart(after))


@given(models())
def test_a_dictionary_that_names_an_entry_twice_makes_no_difference(model: Model) -> None:
    snapshot = model.snapshot()
    twice = copy.copy(snapshot)
    twice.names = (*snapshot.names, *snapshot.names)
    other = copy.copy(twice)
    other.modules = replace(twice.modules, name=twice.modules.name + np.uint16(len(snapshot.names)))
    assert not diff(twice, other)
    assert twice == other


def test_patch_keeps_one_storage_whose_tensors_are_tied_anew() -> None:
    model = Model(Node(0))
    storage = Storage()
    tied, view = Tensor(1, storage=storage), Tensor(2, storage=storage)
    model.root.tensors = {"a": Slot(tied), "b": Slot(tied), "view": Slot(view), "c": Slot(tied)}
    other = model.copy()
    other.root.tensors["a"].tensor = Tensor(3, storage=other.root.tensors["b"].tensor.storage)
    before, after = model.snapshot(), other.snapshot()
    assert after == patch(before, diff(before, after))


@given(pairs())
def test_the_reverse_is_the_diff_the_other_way_round(pair: tuple[Snapshot, Snapshot]) -> None:
    before, after = pair
    changes = diff(before, after)
    assert diff(after, before) == changes.reverse()
    assert changes == changes.reverse().reverse()
    assert before == patch(after, changes.reverse())


@given(pairs())
def test_a_diff_is_false_only_between_equals(pair: tuple[Snapshot, Snapshot]) -> None:
    before, after = pair
    changes = diff(before, after)
    if not changes:
        assert before == after
    if before == after and before.scope is not after.scope:
        assert not changes


@given(pairs())
def test_a_diff_lists_as_many_changes_as_it_counts(pair: tuple[Snapshot, Snapshot]) -> None:
    changes = diff(*pair)
    counts: dict[str, int] = defaultdict(int)
    for change in changes:
        counts[change.kind] += 1
    assert dict(counts) == changes.counts
    assert sum(counts.values()) == len(changes)
    assert bool(changes) == bool(counts)


@given(pairs())
def test_renames_lead_from_paths_before_to_paths_after(pair: tuple[Snapshot, Snapshot]) -> None:
    before, after = pair
    for old, new in diff(before, after).renames.items():
        assert old in {*before.module_paths(), *before.tensor_paths()}
        assert new in {*after.module_paths(), *after.tensor_paths()}
        assert old != new


# Files ------------------------------------------------------------------------------------------------------------


@given(snapshot=snapshots())
def test_what_is_loaded_is_what_was_saved(folder: Path, snapshot: Snapshot) -> None:
    path = save(snapshot, folder / "a")
    loaded = load(path)
    assert snapshot == loaded
    assert (snapshot.label, snapshot.values) == (loaded.label, loaded.values)
    assert dict(loaded.environment) == {"python": "3.11"}
    assert loaded.base == snapshot.base
    assert loaded.scope is not snapshot.scope
    assert not diff(snapshot, loaded)
    assert path.read_bytes() == save(loaded, folder / "b").read_bytes()


@given(model=models())
def test_the_same_model_gives_the_same_bytes_in_another_process(folder: Path, model: Model) -> None:
    other = model.elsewhere()
    other.environment["time"] = "later"
    assert save(model.snapshot(), folder / "a").read_bytes() == save(other.snapshot(), folder / "b").read_bytes()


@given(history=histories(most_edits=1))
def test_bytes_are_the_same_exactly_when_snapshots_are_equal(folder: Path, history: list[Model]) -> None:
    history[1].label = history[0].label
    a, b = (model.snapshot() for model in history)
    assert (a == b) == (save(a, folder / "a").read_bytes() == save(b, folder / "b").read_bytes())


@given(history=histories(states=3))
def test_the_states_of_a_session_keep_their_identities(folder: Path, history: list[Model]) -> None:
    states = [model.snapshot() for model in history]
    path = save_many(states, folder / "many", {"steps": [1, "two", None]})
    loaded, meta = load_many(path)
    assert ({"steps": [1, "two", None]}, states) == (meta, loaded)
    assert len({id(snapshot.scope) for snapshot in loaded}) == 1
    changes, changes_loaded = diff(states[0], states[2]), diff(loaded[0], loaded[2])
    assert changes == changes_loaded
    assert path.read_bytes() == save_many(loaded, folder / "again", meta).read_bytes()
