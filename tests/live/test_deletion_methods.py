"""Every method that the installed PEFT registers: add(a), add(b), delete(b) equals add(a); the last leaves the base."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import peft
import pytest
import torch

from peftviz.auditing import audit
from peftviz.errors import AdapterError
from peftviz.live.removal.deletion import delete_adapter, plan_deletion
from peftviz.live.snapshots.capture import capture
from tests.live.zoo import (
    LONE,
    METHODS,
    RECIPES,
    REGISTERED,
    WAYS,
    Handle,
    answer,
    case_of,
    has_way,
    llama,
    one_adapter,
    output,
    tensors_of,
    two_adapters,
)
from tests.live.zoo.handles import perturb
from tests.oracle import compare, describe, differences

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = [(name, way) for name in METHODS for way in WAYS if has_way(name, way)]
HANDLES = [name for name in METHODS if has_way(name, "peft")]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("method", sorted(REGISTERED))
def test_every_registered_method_has_a_recipe(method: str) -> None:
    assert method in RECIPES, (
        f"PEFT {peft.__version__} registers {method} ({REGISTERED[method].__name__}). Give it a recipe in "
        "tests/live/zoo/tuners.py (a tuner with layers) or tests/live/zoo/prompts.py: arguments of two tiny adapters "
        "whose targets overlap in part. The tests of this file and the residue matrix then cover it."
    )


def test_the_registry_is_not_empty_and_no_method_is_lost_on_the_way() -> None:
    assert len(REGISTERED) >= 20
    assert {name.rpartition("-")[0] for name in {**METHODS, **LONE}} == set(REGISTERED)


@pytest.mark.parametrize(("name", "way"), MATRIX)
@pytest.mark.parametrize("active", [False, True], ids=["inactive", "active"])
def test_add_two_and_delete_one_equals_add_one(name: str, way: str, active: bool) -> None:
    handle = two_adapters(name, way)
    if active:
        handle.activate("b")
    removed = tensors_of(handle.model, "b")
    report = delete_adapter(handle.model, "b")
    expected = one_adapter(name, way)
    assert report.model is handle.model
    assert differences(report.model, expected.model) == []
    assert [ref for ref in removed if ref() is not None] == []
    assert report.freed.alive == ()
    assert report.freed.tensors == report.plan.tensors > 0
    assert report.audit.clean
    assert torch.equal(answer(handle, case_of(name)), answer(expected, case_of(name)))


@pytest.mark.parametrize(("name", "way"), MATRIX)
def test_after_the_last_deletion_the_model_equals_the_base(name: str, way: str) -> None:
    case = case_of(name)
    base = case.build()
    baseline, before = capture(base), describe(base)
    handle = Handle(way, base)
    handle.add("a", case.first(), seed=1)
    handle.add("b", case.second(), seed=2)
    handle.activate("a")
    removed = tensors_of(handle.model, "a") + tensors_of(handle.model, "b")
    model = handle.model
    for adapter in "ab":
        report = delete_adapter(model, adapter, baseline=baseline)
        model = report.model
    assert model is base
    assert list(compare(before, describe(base))) == []
    assert report.warnings == ()
    gc.collect()
    assert [ref for ref in removed if ref() is not None] == []
    assert audit(base, baseline=baseline).clean
    assert torch.equal(output(base), output(case.build()))


@pytest.mark.parametrize("name", HANDLES)
def test_the_old_handle_takes_the_next_adapter_as_a_new_one_would(name: str) -> None:
    case = case_of(name)
    handle, fresh = (Handle("peft", case.build()) for _ in range(2))
    for model in (handle.base, fresh.base):
        vars(model)["name_or_path"] = "tiny"  # PEFT notes it; an empty one in its own way each release
    baseline = capture(handle.base)
    for seed, adapter, config in ((1, "a", case.first()), (2, "b", case.second())):
        handle.add(adapter, config, seed)
    for adapter in "ab":
        delete_adapter(handle.model, adapter, baseline=baseline)
    assert torch.equal(output(handle.model), output(case.build()))
    handle.names = ["nobody"]  # so that it is added to the handle, and no new one made
    handle.add("a", case.first(), seed=1)
    handle.activate("a")
    fresh.add("a", case.first(), seed=1)
    fresh.activate("a")
    assert differences(handle.model, fresh.model) == []
    assert torch.equal(answer(handle, case), answer(fresh, case))


@pytest.mark.parametrize("name", HANDLES)
def test_what_is_left_survives_saving_and_loading(name: str, tmp_path: Path) -> None:
    handle, case = two_adapters(name, "peft"), case_of(name)
    handle.activate("b")
    delete_adapter(handle.model, "b")
    handle.model.save_pretrained(tmp_path / "adapters", selected_adapters=["a"])
    loaded = Handle("peft", case.build())
    loaded.model = peft.PeftModel.from_pretrained(loaded.base, tmp_path / "adapters" / "a", adapter_name="a").eval()
    assert torch.allclose(answer(loaded, case), answer(handle, case), atol=1e-6)


@pytest.mark.parametrize("name", LONE)
def test_a_method_of_one_adapter_leaves_the_base(name: str) -> None:
    case = LONE[name]
    base = case.build()
    baseline, before = capture(base), describe(base)
    handle = Handle("peft", base)
    handle.add("a", case.first(), seed=1)
    weights = {id(parameter) for parameter in case.build().parameters()} | {id(item) for item in base.parameters()}
    removed = [weakref.ref(item) for item in handle.model.parameters() if id(item) not in weights]
    experts = [adapter for adapter in handle.model.peft_config if adapter != "a"]
    with pytest.raises(AdapterError, match="its experts go with it"):
        plan_deletion(handle.model, experts[0])
    report = delete_adapter(handle.model, "a", baseline=baseline)
    assert report.model is base
    assert set(report.plan.names) == {"a", *experts}
    assert set(report.plan.experts) == set(experts)
    assert "no config knows" not in str(report.plan)
    assert list(compare(before, describe(base))) == []
    assert removed
    assert [ref for ref in removed if ref() is not None] == []
    assert torch.equal(output(handle.model), output(case.build()))
    handle.model.add_adapter("a", case.first())
    assert not torch.equal(output(handle.model), output(case.build()))


@pytest.mark.skipif("SHADOW-plain" not in METHODS, reason="this PEFT has no Shadow")
def test_what_shadow_carries_through_the_model_begins_where_its_layers_begin() -> None:
    """Its tuner hooks the first and the last layer that any adapter has, and the one of them goes."""

    def config(*layers: str) -> Any:
        return peft.ShadowConfig(r=2, task_type="CAUSAL_LM", target_modules=list(layers))

    def alone() -> Any:
        return peft.get_peft_model(llama(), config("layers.1"), adapter_name="b").eval()

    expected = alone()
    perturb(expected, "b")
    model = peft.get_peft_model(llama(), config("layers.0", "layers.1"), adapter_name="a")
    model.add_adapter("b", config("layers.1"))
    model.load_state_dict({key: value for key, value in expected.state_dict().items() if ".b." in key}, strict=False)
    model.set_adapter("b")
    delete_adapter(model.eval(), "a")
    layer = model.base_model.model.model.layers[1]
    assert torch.equal(output(model), output(expected))
    assert not torch.equal(output(model), output(llama()))
    tuner = model.base_model
    assert tuner._boundary_layers == [layer, layer]
    for handle in tuner._boundary_hook_handles:  # as the tuner does when it hooks anew
        handle.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
