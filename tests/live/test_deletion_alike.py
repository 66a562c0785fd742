"""Layers alike are judged once; what only one of them holds is found all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from peft import get_peft_model
from peft.tuners.lora.layer import LoraLayer

from peftviz.live.removal.deletion import delete_adapter, plan_deletion
from peftviz.live.removal.survey import Survey
from peftviz.live.removal.sweep import find_traces
from tests.live.zoo import llama, lora
from tests.oracle import differences

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.filterwarnings("ignore")

DOOMED = frozenset({"doomed"})


def adapted(*names: str) -> Any:
    model = get_peft_model(llama(), lora(("q_proj", "v_proj")), adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, lora(("q_proj", "v_proj")))
    return model


def layers_of(model: torch.nn.Module) -> list[dict[str, Any]]:
    return [vars(module) for module in model.modules() if isinstance(module, LoraLayer)]


class Note:
    """Something of PEFT's that is no plain data: a snapshot records its type and attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


Note.__module__ = "peft.tuners.notes"

PLACES: dict[str, tuple[Any, Any]] = {
    "a list": (["stays", "doomed"], ["stays"]),
    "a list in a dictionary": ({"deep": [["doomed"], 1]}, {"deep": [[], 1]}),
    "a key beside others": ({"stays": 1, "doomed": 2, "else": 3}, {"stays": 1, "else": 3}),
    "a set": ({"doomed", "stays"}, {"stays"}),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_one_layer_of_many_mentions_is_forgotten(place: str) -> None:
    model, expected = adapted("stays", "doomed"), adapted("stays")
    value, left = PLACES[place]
    layers_of(model)[1]["notes"], layers_of(expected)[1]["notes"] = value, left
    plan = plan_deletion(model, "doomed")
    assert [action.path for action in plan.actions if "notes" in action.detail] == [
        path for path, module in model.named_modules() if "notes" in vars(module)
    ]
    delete_adapter(model, "doomed")
    assert differences(model, expected) == []


def test_objects_that_are_recorded_alike_are_searched_one_by_one() -> None:
    model = adapted("stays", "doomed")
    notes = [Note(by={"stays": {Note: 1}}) for _ in layers_of(model)]
    deep: Any = ["doomed"]
    for _ in range(4):
        deep = [deep]
    notes[1].deep, notes[0].deep = deep, [[[[["stays"]]]]]  # too deep for the record, which cuts both alike
    for slots, note in zip(layers_of(model), notes, strict=True):
        slots["notes"] = note
    delete_adapter(model, "doomed")
    assert not any("doomed" in repr(vars(note)) for note in notes)
    assert notes[0].deep == [[[[["stays"]]]]]


def test_keys_that_only_read_like_the_name_stay() -> None:
    model = adapted("stays", "1")
    texts, numbers = layers_of(model)[:2]
    texts["notes"], numbers["notes"] = {"1": "x"}, {1: "x"}
    delete_adapter(model, "1")
    assert texts["notes"] == {}
    assert numbers["notes"] == {1: "x"}


def test_a_tensor_at_two_places_of_one_adapter_counts_once() -> None:
    model = adapted("stays", "doomed")
    alone = plan_deletion(model, "doomed")
    first, second = layers_of(model)[:2]
    saved = second["_modules"]["lora_A"]["doomed"].weight.nbytes
    second["_modules"]["lora_A"]["doomed"].weight = first["_modules"]["lora_A"]["doomed"].weight
    plan = plan_deletion(model, "doomed")
    assert (plan.tensors, plan.nbytes) == (alone.tensors - 1, alone.nbytes - saved)
    report = delete_adapter(model, "doomed")
    assert (report.freed.tensors, report.freed.bytes) == (plan.tensors, plan.nbytes)


def test_a_module_that_lives_on_elsewhere_stays() -> None:
    model = adapted("stays", "doomed")
    first = layers_of(model)[0]
    kept = first["_modules"]["lora_A"]["doomed"]
    model.base_model.model.held = kept  # comes later in preorder: the entry of the adapter is where it is expanded
    plan = plan_deletion(model, "doomed")
    report = delete_adapter(model, "doomed")
    assert report.freed.tensors == plan.tensors
    assert report.freed.alive == ()
    assert dict(model.base_model.model.held.named_parameters()).keys() == {"weight"}


def test_a_name_in_the_hidden_places_of_an_empty_container_is_forgotten() -> None:
    model = adapted("stays", "doomed")
    first, second = (slots["_modules"]["lora_magnitude_vector"] for slots in layers_of(model)[:2])
    vars(first)["_non_persistent_buffers_set"] = {"doomed", "stays"}
    vars(second)["_modules"]["doomed"] = None
    delete_adapter(model, "doomed")
    assert vars(first)["_non_persistent_buffers_set"] == {"stays"}
    assert vars(second)["_modules"] == {}


@pytest.mark.parametrize("place", ["a module that is none", "an attribute", "the list of keys"])
def test_a_trace_that_is_no_module_and_no_tensor_is_seen(place: str) -> None:
    model = adapted("stays")
    layer = layers_of(model)[0]["_modules"]
    assert not find_traces(Survey(model), DOOMED, {"stays", "doomed"})
    if place == "a module that is none":
        vars(layer["lora_magnitude_vector"])["_modules"]["doomed"] = None
    elif place == "an attribute":
        vars(layer["lora_A"])["doomed"] = 1
    else:
        vars(layer["lora_embedding_A"])["_keys"]["doomed"] = None
    assert find_traces(Survey(model), DOOMED, {"stays", "doomed"})
