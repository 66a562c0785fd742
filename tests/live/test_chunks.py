"""The compiled reader of modules reads what the one in Python reads, and leaves to it what is out of the ordinary."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from peftviz import capture, diff
from peftviz.live.peft_facts import REGISTRY_ATTRIBUTES
from peftviz.live.snapshots import chunks
from peftviz.live.snapshots.chunks import Chunk, Entries, read_compiled, read_in_python
from peftviz.live.snapshots.interning import Interner
from tests.live import zoo

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own, on names and configs

needs_compiled = pytest.mark.skipif(
    not chunks.is_compiled() and os.environ.get("PEFTVIZ_COMPILE") != "always", reason="peftviz is not compiled here"
)

Read = Callable[[list[nn.Module], Interner[type], Interner[str]], "Chunk | None"]


@pytest.fixture
def without_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_compiled", None)


def told(read: Read, modules: list[nn.Module]) -> dict[str, Any] | None:
    """What a reader tells, in a form that can be compared: objects by their `id()`, codes by what they stand for."""
    types, names = Interner[type](), Interner[str]([""])
    chunk = read(modules, types, names)
    if chunk is None:
        return None

    def entries(found: Entries) -> list[tuple[int, int, str]]:
        assert found.owners.dtype == found.names.dtype == np.int32
        triples = zip(found.values, found.owners.tolist(), found.names.tolist(), strict=True)
        return [(id(value), owner, list(names)[code]) for value, owner, code in triples]

    assert (chunk.ids.dtype, chunk.types.dtype) == (np.int64, np.int32)
    return {
        "ids": chunk.ids.tolist(),
        "types": [list(types)[code] for code in chunk.types.tolist()],
        "dicts": list(map(id, chunk.dicts)),
        "training": list(chunk.training),
        "hooked": chunk.hooked,
        "registered": chunk.registered,
        "children": entries(chunk.children),
        "parameters": entries(chunk.parameters),
        "buffers": entries(chunk.buffers),
        "interned": [*types, *names],
    }


def modules_of(model: nn.Module) -> list[nn.Module]:
    return [module for _, module in model.named_modules(remove_duplicate=False)]


def many_kinds() -> nn.Module:
    """Parameters, buffers and children that are None, hooks of each kind, modes, a registry that is none of PEFT's."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2), nn.Embedding(3, 2), nn.ReLU(), nn.Identity())
    model.register_module("absent", None)
    model.register_parameter("left_out", None)
    model.register_buffer("hidden", torch.zeros(1), persistent=False)
    model.register_buffer("none", None)
    model[0].register_forward_hook(lambda *_: None)
    model[1].register_forward_pre_hook(lambda *_: None)
    model[2].register_full_backward_hook(lambda *_: None)
    model[3].register_full_backward_pre_hook(lambda *_: None)
    model[4].eval()
    model.peft_config = {}
    return nn.ModuleList([model, nn.Sequential()])


def of_slots() -> nn.Module:
    class Slotted(nn.Module):
        __slots__ = ("kept",)

    return Slotted()


ORDINARY = {"many kinds": many_kinds, "slots beside its dictionary": of_slots, "one module": nn.ReLU}


@needs_compiled
@pytest.mark.parametrize("make", [*ORDINARY.values()], ids=[*ORDINARY])
def test_both_read_the_same(make: Callable[[], nn.Module]) -> None:
    modules = modules_of(make())
    assert told(read_compiled, modules) == told(read_in_python, modules)


@needs_compiled
@pytest.mark.parametrize("name", sorted(zoo.CASES | zoo.METHODS))
def test_both_read_the_same_of_every_method(name: str) -> None:
    model = zoo.both_adapters((zoo.CASES | zoo.METHODS)[name], "peft").model
    modules = modules_of(model)
    found = told(read_compiled, modules)
    assert found is not None
    assert found["registered"], "PEFT's registries"
    assert found == told(read_in_python, modules)


def script() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated, and still found in the wild
        return torch.jit.script(nn.Sequential(nn.Linear(2, 2)))


def with_slot(**slots: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        module = nn.Linear(2, 2)
        vars(module).update(slots)
        return module

    return make


class Name(str):
    """A name of a class of its own."""

    __slots__ = ()


ODD = {
    "a ScriptModule": script,
    "children in an order of their own": with_slot(_modules=OrderedDict(a=nn.ReLU(), b=nn.ReLU())),
    "parameters in an order of their own": with_slot(_parameters=OrderedDict(weight=nn.Parameter(torch.zeros(1)))),
    "a name of another class": with_slot(_buffers={Name("odd"): torch.zeros(1)}),
    "a mode that is a number": with_slot(training=1),
}


@needs_compiled
@pytest.mark.parametrize("make", [*ODD.values()], ids=[*ODD])
def test_what_is_out_of_the_ordinary_is_left_to_python(make: Callable[[], nn.Module]) -> None:
    model = nn.ModuleList([nn.Linear(2, 2), make(), nn.ReLU()])
    modules = modules_of(model)
    assert told(read_compiled, modules) is None
    assert told(read_in_python, modules) is not None
    assert capture(model).module_paths()[:3] == ["", "0", "1"]


@needs_compiled
@pytest.mark.parametrize("name", ["heads", "tokens-tied"])
def test_snapshots_of_both_are_equal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.ModuleList([zoo.both_adapters(zoo.CASES[name], "peft").model, many_kinds()])
    compiled = capture(model)
    monkeypatch.setattr(chunks, "_compiled", None)
    assert capture(model) == compiled
    assert not diff(compiled, capture(model))


def parent_of(children: dict[str, nn.Module | None]) -> nn.Module:
    module = nn.Module()
    for name, child in children.items():
        module._modules[name] = child
    return module


trees = st.recursive(
    st.builds(nn.Linear, st.just(1), st.just(1), bias=st.booleans()) | st.builds(nn.BatchNorm1d, st.just(1)),
    lambda below: st.dictionaries(
        st.text(min_size=1).filter(lambda text: "." not in text and not hasattr(nn.Module, text)),
        st.none() | below,
        max_size=4,
    ).map(parent_of),
    max_leaves=12,
)


@needs_compiled
@given(trees)
def test_any_tree_is_read_the_same(model: nn.Module) -> None:
    modules = modules_of(model)
    assert told(read_compiled, modules) == told(read_in_python, modules)


class Unhashable(type):
    """The class of a class that cannot be a key."""

    __hash__ = None  # type: ignore[assignment]


@needs_compiled
def test_an_error_is_passed_on() -> None:
    class Module(nn.Module, metaclass=Unhashable): ...

    for read in (read_compiled, read_in_python):
        with pytest.raises(TypeError, match="unhashable"):
            told(read, [nn.ReLU(), Module()])
    assert chunks._compiled is not None
    for arguments in [((), {}, {}, ()), ([], [], {}, ()), ([], {}, [], ()), ([], {}, {}, []), ([],)]:
        with pytest.raises(TypeError):
            chunks._compiled(*arguments)


@needs_compiled
def test_no_reference_is_left() -> None:
    class Module(nn.Module, metaclass=Unhashable): ...

    model = many_kinds()
    modules = modules_of(model)
    held = [*modules, *map(vars, modules)]
    held += [slot for module in modules for slot in vars(module).values() if isinstance(slot, dict)]
    held += [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]

    def read_all_ways() -> None:
        types, names = Interner[type](), Interner[str]()
        assert read_compiled(modules, types, names) is not None
        assert read_compiled([*modules, with_slot(_buffers={Name("odd"): None})()], types, names) is None
        assert read_compiled([*modules, script()], types, names) is None
        with pytest.raises(TypeError):
            read_compiled([*modules, Module()], types, names)

    def references() -> list[int]:
        gc.collect()
        return list(map(sys.getrefcount, held))

    read_all_ways()
    before = references()
    for _ in range(3):
        read_all_ways()
    assert references() == before


@pytest.mark.usefixtures("without_compiled")
def test_without_it_all_is_read_in_python() -> None:
    model = many_kinds()
    assert not chunks.is_compiled()
    assert read_compiled(modules_of(model), Interner(), Interner()) is None
    assert capture(model).module("0.2").type.endswith("Embedding")


def test_a_broken_build_does_no_harm() -> None:
    code = (
        "import sys; sys.modules['peftviz.live.snapshots._chunks'] = None\n"
        "import torch, peftviz\n"
        "from peftviz.live.snapshots.chunks import is_compiled\n"
        "print(is_compiled(), peftviz.capture(torch.nn.Linear(2, 3)).totals.parameters)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "9"]


def test_the_attributes_asked_for_are_those_of_peft() -> None:
    model = many_kinds()
    assert "peft_config" in REGISTRY_ATTRIBUTES
    assert [modules_of(model)[index] for index in told(read_in_python, modules_of(model))["registered"]] == [model[0]]
