"""Many dictionaries, or objects, read in one call give what each gives by itself."""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain

import pytest
import torch
from torch import nn

from peftviz import capture
from peftviz.live.snapshots.bulk import dicts_of, values_of


class Noted(dict):
    """A dictionary with attributes, which the garbage collector sees as well."""


def moved() -> OrderedDict[str, object]:
    mapping = OrderedDict(a=object(), b=object(), c=object())
    mapping.move_to_end("a")
    return mapping


def noted() -> Noted:
    mapping = Noted(a=object(), b=object())
    mapping.note = object()
    return mapping


def with_gap() -> dict[str, object]:
    mapping = {name: object() for name in "abcd"}
    del mapping["b"]
    mapping["b"] = object()
    return mapping


@pytest.mark.parametrize(
    "mapping",
    [{}, {"a": None, "b": None}, {"a": 1}, {1: object(), "a": object()}, moved(), noted(), with_gap()],
    ids=["empty", "None twice", "no container", "other keys", "order of its own", "attributes", "put in again"],
)
def test_values_come_in_the_order_of_the_dictionary(mapping):
    others = [{"x": object()}, {}, {"y": object(), "z": None}]
    mappings = [others[0], mapping, *others[1:]]
    expected = list(chain.from_iterable(list(each.values()) for each in mappings))
    assert list(map(id, values_of(mappings))) == list(map(id, expected))


def test_a_child_moved_to_the_end_is_read_there():
    model = nn.Module()
    vars(model)["_modules"] = OrderedDict(a=nn.Linear(1, 2), b=nn.ReLU())
    vars(model)["_modules"].move_to_end("a")
    vars(model)["_parameters"] = OrderedDict(one=nn.Parameter(torch.zeros(1)), two=nn.Parameter(torch.zeros(2)))
    vars(model)["_parameters"].move_to_end("one")
    snapshot = capture(model)
    assert snapshot.module_paths() == ["", "b", "a"]
    assert snapshot.module("a").type.endswith("Linear")
    assert snapshot.tensor_paths()[:2] == ["two", "one"]
    assert snapshot.tensor("one").shape == (1,)


class Slotted(nn.Module):
    """A module with a slot beside its `__dict__`, in which a dictionary lies."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        super().__init__()
        self.kept = {"_modules": {}}


class Listed(list):
    """An object that refers to what it holds."""


class Bare:
    """An object whose attributes lie within it until its `__dict__` is asked for."""

    def __init__(self) -> None:
        self.one = self.two = {}


def other_attributes() -> object:
    bare = Bare()
    vars(bare)
    bare.__dict__ = Noted(one={})
    return bare


@pytest.mark.parametrize("make", [nn.ReLU, Slotted, Bare, other_attributes, lambda: Listed([{}, {}])])
def test_the_dictionary_of_an_object_is_its_own(make):
    objects = [nn.Linear(1, 1), make(), nn.ReLU(), make()]
    assert list(map(id, dicts_of(objects))) == [id(vars(each)) for each in objects]
