"""The journal undoes what was done through it, object for object and in order."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from peftviz.live.removal.journal import MISSING, Journal


def test_items_come_back_at_their_place() -> None:
    mapping = {"a": 1, "b": 2, "c": 3}
    journal = Journal()
    journal.del_item_of_each([mapping], "a")
    journal.set_item(mapping, "c", 4)
    journal.set_item(mapping, "d", 5)
    journal.del_item_of_each([mapping], "b")
    assert mapping == {"c": 4, "d": 5}
    journal.rollback()
    assert list(mapping.items()) == [("a", 1), ("b", 2), ("c", 3)]


def test_many_dictionaries_lose_a_key_as_one() -> None:
    mappings = [{"a": 1, "b": 2}, OrderedDict(b=3, c=4), {"b": 5}]
    before = [list(mapping.items()) for mapping in mappings]
    journal = Journal()
    journal.del_item_of_each(mappings, "b")
    assert [list(mapping) for mapping in mappings] == [["a"], ["c"], []]
    assert len(journal) == 1
    journal.rollback()
    assert [list(mapping.items()) for mapping in mappings] == before


def test_what_stops_half_way_through_many_is_undone() -> None:
    mappings = [{"a": number, "b": number, "c": number} for number in range(4)]
    before = [list(mapping.items()) for mapping in mappings]

    class Stopped(Journal):
        def checkpoint(self) -> None:
            if "b" not in mappings[1]:
                raise KeyboardInterrupt

    journal = Stopped()
    with pytest.raises(KeyboardInterrupt):
        journal.edit([(mappings, "b", MISSING)])
    assert ["b" in mapping for mapping in mappings] == [False, False, True, True]
    journal.rollback()
    assert [list(mapping.items()) for mapping in mappings] == before


def test_ordered_dictionaries_too() -> None:
    mapping = OrderedDict(a=1, b=2)
    journal = Journal()
    journal.del_item_of_each([mapping], "a")
    journal.rollback()
    assert list(mapping) == ["a", "b"]


def test_the_same_object_comes_back() -> None:
    value = ["x"]
    mapping = {"key": value}
    journal = Journal()
    journal.set_item(mapping, "key", [])
    journal.rollback()
    assert mapping["key"] is value


def test_flags_and_values_of_tensors_come_back() -> None:
    parameter = torch.nn.Parameter(torch.arange(3.0))
    storage = parameter.data_ptr()
    journal = Journal()
    journal.set_requires_grad(parameter, False)
    journal.protect_data(parameter)
    parameter.data = torch.zeros(3)
    journal.rollback()
    assert parameter.requires_grad
    assert parameter.tolist() == [0.0, 1.0, 2.0]
    assert parameter.data_ptr() == storage


def test_values_changed_in_place_come_back() -> None:
    parameter = torch.nn.Parameter(torch.arange(3.0))
    journal = Journal()
    journal.protect_data(parameter)
    with torch.no_grad():
        parameter += 1
    journal.rollback()
    assert parameter.tolist() == [0.0, 1.0, 2.0]


def test_what_is_committed_stays_and_is_let_go() -> None:
    mapping = {"a": 1}
    journal = Journal()
    journal.del_item_of_each([mapping], "a")
    journal.commit()
    assert len(journal) == 0
    journal.rollback()
    assert mapping == {}


def test_an_interrupt_while_undoing_is_raised_when_all_is_undone() -> None:
    class Interrupted(dict):
        interrupted = False

        def pop(self, *arguments):
            if not type(self).interrupted:
                type(self).interrupted = True
                raise KeyboardInterrupt
            return super().pop(*arguments)

    mapping, other = Interrupted(a=1), {"b": 2}
    journal = Journal()
    journal.del_item_of_each([other], "b")
    journal.del_item_of_each([mapping], "a")
    with pytest.raises(KeyboardInterrupt):
        journal.rollback()
    assert (dict(mapping), other) == ({"a": 1}, {"b": 2})
