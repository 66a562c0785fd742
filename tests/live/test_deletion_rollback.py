"""An exception at any single mutation leaves the model as it was, object for object."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

import pytest
import torch
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from peftviz import capture
from peftviz.errors import VerificationError
from peftviz.live.removal import deletion
from peftviz.live.removal.deletion import delete_adapter, plan_deletion
from peftviz.live.removal.journal import Journal
from peftviz.live.removal.repair import repair
from peftviz.live.removal.unload import unload
from tests.live.faults import MANY, Faulty, assert_every_fault_is_undone
from tests.live.zoo import CASES, HAS_TOKENS, LONE, METHODS, Handle, llama, lora, two_adapters
from tests.oracle import photograph

if TYPE_CHECKING:
    from peftviz.live.removal.prepare import Prepared

pytestmark = pytest.mark.filterwarnings("ignore")


def scenario(name: str) -> tuple[torch.nn.Module, list[str], dict[str, str]]:
    case, way, active, merged, last = SCENARIOS[name]
    handle = two_adapters(case, way)
    if active:
        handle.activate("b")
    if merged:
        handle.model.merge_adapter(["a", "b"] if merged == "both" else ["b"])
    names = ["b"]
    if last:
        delete_adapter(handle.model, "a")
    return handle.model, names, {"merged": "unmerge"} if merged else {}


SCENARIOS = {
    "inactive": ("heads", "peft", False, "", False),
    "active": ("heads", "peft", True, "", False),
    "other-targets": ("other-targets", "mixin", True, "", False),
    "dora": ("dora", "inject", True, "", False),
    "last": ("heads", "peft", False, "", True),
    "last-of-mixin": ("tied", "mixin", False, "", True),
    "merged": ("linear", "peft", True, "one", False),
    "merged-both": ("linear", "peft", True, "both", False),
}
if HAS_TOKENS:
    SCENARIOS |= {
        "tokens": ("tokens-tied", "peft", True, "", False),
        "last-tokens": ("tokens-and-head", "peft", False, "", True),
    }
SCENARIOS |= {
    f"{method}-{state}": (method, "peft", *flags)
    for method, state, flags in (
        ("VERA-plain", "active", (True, "", False)),
        ("POLY-plain", "last", (False, "", True)),
        ("ADAPTION_PROMPT-plain", "active", (True, "", False)),
    )
    if HAS_TOKENS and method in METHODS  # the methods are tested on the releases that have these, too
}


def name_is_gone(model: torch.nn.Module, name: str) -> bool:
    return name not in vars(model).get("peft_config", {}) and not any(
        name in path.split(".") for path, _ in model.named_modules()
    )


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_at_every_mutation_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, names, options = scenario(name)
    assert_every_fault_is_undone(model, lambda: delete_adapter(model, names[0], **options), monkeypatch)
    assert name_is_gone(model, names[0])


MERGED = [
    name
    for name in ("IA3-plain", "LOHA-plain", "OFT-plain", "VERA-plain", "MISS-plain", "LN_TUNING-plain", "dora")
    if HAS_TOKENS and (name in METHODS or name in CASES)
]
"""One of each build that merges: factors, products, rotations, a shared store, blocks, modules that swap places."""


@pytest.mark.parametrize("name", MERGED)
def test_a_fault_while_a_merged_adapter_is_taken_out_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third mutation: what these add to the scenarios above is how PEFT's layers unmerge."""
    model = two_adapters(name, "peft").model
    model.merge_adapter(["b"])
    operation = functools.partial(delete_adapter, model, "b", merged="unmerge")
    assert_every_fault_is_undone(model, operation, monkeypatch, every=3)
    assert name_is_gone(model, "b")


OPERATIONS = {
    "delete": lambda model, baseline: delete_adapter(model, "a", baseline=baseline),
    "repair": lambda model, baseline: repair(model, baseline=baseline),
    "unload": lambda model, baseline: unload(model, baseline=baseline),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_fault_while_the_base_is_restored_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags, the config and the hooks of the base are as they were by the same journal as the rest."""
    base = llama()
    base.config.pretraining_tp = 2
    base.gradient_checkpointing_enable()
    base.get_input_embeddings()._forward_hooks.clear()  # some releases of transformers set one here, some do not
    baseline, config = capture(base), vars(base.config)
    model = get_peft_model(base, lora(("q_proj",), layers_to_transform=[0]), adapter_name="a")
    if name == "repair":
        model.delete_adapter("a")
    values = dict(config)

    def operation() -> None:
        assert config == values
        OPERATIONS[name](model, baseline)

    assert_every_fault_is_undone(model, operation, monkeypatch)
    assert config == {**values, "pretraining_tp": 2}
    assert not base.get_input_embeddings()._forward_hooks
    assert all(parameter.requires_grad for parameter in base.parameters())


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_keyboard_interrupt_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, names, options = scenario(name)
    before = photograph(model)
    faulty = Faulty(monkeypatch)
    faulty.error = KeyboardInterrupt
    for at in random.Random(name).sample(range(1, MANY + 1), 2):
        with faulty.at(at), pytest.raises(KeyboardInterrupt):
            delete_adapter(model, names[0], **options)
        assert photograph(model) == before


@pytest.mark.skipif(not HAS_TOKENS, reason="the methods are tested on PEFT 0.15 and later")
def test_a_fault_while_experts_go_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    case = LONE["XLORA-plain"]
    handle = Handle("peft", case.build())
    handle.add("a", case.first(), seed=1)
    assert_every_fault_is_undone(handle.model, lambda: delete_adapter(handle.model, "a"), monkeypatch)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_plan_touches_nothing(name: str) -> None:
    model, names, options = scenario(name)
    before = photograph(model)
    plan = plan_deletion(model, names[0], **options)
    assert photograph(model) == before
    assert plan.actions
    assert str(plan) == str(plan_deletion(model, names[0], **options))


NOTICED = {
    "remove": "lora_A holds 'b'",
    "forget": "scaling",
    "activate": "'b'",
    "unwrap": "o_proj",
    "registry": "'b'",
    "flag": "requires_grad of .* is not as planned",
    "target": "parameters should be left",
    "inactive": r"active adapters are \[\], not \['a'\]",
    "one inactive": "layers.0.self_attn.v_proj does not run what is active",
    "merged": "other adapters are merged than before",
}
"""By what goes wrong, what the verification says of it."""


@pytest.mark.parametrize("drop", NOTICED)
def test_a_result_that_is_not_as_planned_is_rolled_back(drop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = two_adapters("other-targets", "peft")
    handle.activate("b")
    before = photograph(handle.model)
    prepare = deletion.prepare

    def careless(*arguments, **options) -> Prepared:
        prepared = prepare(*arguments, **options)
        edits = prepared.edits.list
        layer = vars(handle.model.base_model.model.model.layers[0].self_attn.v_proj)
        if drop in ("remove", "forget"):  # in one of many layers alike
            dictionary = layer["_modules"]["lora_A"]._modules if drop == "remove" else layer["scaling"]
            at = next(i for i, (mappings, *_) in enumerate(edits) if any(mapping is dictionary for mapping in mappings))
            mappings, key, value = edits[at]
            edits[at] = ([mapping for mapping in mappings if mapping is not dictionary], key, value)
            assert len(edits[at][0]) == len(mappings) - 1 > 0
        elif drop == "activate":
            edits.pop(next(i for i, (_, key, _) in enumerate(edits) if key == "_active_adapter"))
        elif drop == "unwrap":
            edits.pop(next(i for i, (_, key, _) in enumerate(edits) if key == "o_proj"))
        elif drop == "registry":
            edits.pop(next(i for i, (mappings, *_) in enumerate(edits) if mappings[0] is handle.model.peft_config))
        elif drop == "flag":
            last = prepared.survey.parameters[0]
            edits.append(([last.__dict__], "_", 0))
            monkeypatch.setattr(Journal, "set_requires_grad", lambda *_: None)
        elif drop == "one inactive":
            edits.append(([layer], "_active_adapter", []))
        elif drop in ("inactive", "merged"):
            slot, value = ("_active_adapter", []) if drop == "inactive" else ("merged_adapters", ["a"])
            layers = [vars(module) for module in handle.model.modules() if isinstance(module, BaseTunerLayer)]
            edits.append((layers, slot, value))
            if drop == "inactive":
                edits.append(([vars(handle.model), vars(handle.model.base_model)], "active_adapter", []))
        else:
            parameters = handle.model.base_model.model.model.layers[0].mlp.down_proj._parameters
            edits.append(([parameters], "weight", torch.nn.Parameter(torch.zeros(1))))
        return prepared

    monkeypatch.setattr(deletion, "prepare", careless)
    with pytest.raises(VerificationError, match=NOTICED[drop]) as failure:
        delete_adapter(handle.model, "b")
    assert "as it was before" in failure.value.hint
    assert photograph(handle.model) == before
