"""`capture` against PyTorch's own walks, on real and on awkward models."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref

import pytest
import torch
from peft import LoraConfig, VeraConfig, get_peft_model
from torch import nn

from peftviz import PeftvizError, capture, diff
from peftviz.core.rows import BaseModel
from peftviz.core.tables import Role
from peftviz.live.snapshots.identity import IdentityRegistry
from tests.live import audited


class Shared(nn.Module):
    """One module in two places: the deep one comes first in preorder, the shallow one first in breadth."""

    def __init__(self) -> None:
        super().__init__()
        leaf = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        self.deep = nn.ModuleDict({"inner": nn.ModuleDict({"leaf": leaf})})
        self.shallow = leaf
        self.last = leaf


class Sliced(nn.Module):
    """Two parameters in one storage, and a buffer that is a view of half of another."""

    def __init__(self) -> None:
        super().__init__()
        storage = torch.zeros(6, 4)
        self.top = nn.Parameter(storage[:3])
        self.bottom = nn.Parameter(storage[3:])
        self.register_buffer("part", torch.zeros(8)[:4], persistent=False)


def expected_module_paths(model: nn.Module) -> list[str]:
    """Paths as PyTorch walks them, a repeated module as a row without descendants."""
    paths: list[str] = []
    seen: set[nn.Module] = set()

    def visit(module: nn.Module, path: str) -> None:
        paths.append(path)
        if module in seen:
            return
        seen.add(module)
        for name, child in module._modules.items():
            if child is not None:
                visit(child, f"{path}.{name}" if path else name)

    visit(model, "")
    return paths


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_tree_and_tensors_are_those_of_pytorch(tiny_llama):
    model = get_peft_model(
        tiny_llama(tied=True), LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
    )
    snapshot = capture(model)
    assert snapshot.module_paths() == [name for name, _ in model.named_modules(remove_duplicate=False)]
    parameters = dict(model.named_parameters(remove_duplicate=False))
    buffers = dict(model.named_buffers(remove_duplicate=False))
    assert set(snapshot.tensor_paths()) == {*parameters, *buffers}
    for name, parameter in parameters.items():
        row = snapshot.tensor(name)
        assert (row.shape, row.requires_grad, row.numel) == (
            tuple(parameter.shape),
            parameter.requires_grad,
            parameter.numel(),
        )
        assert row.dtype == str(parameter.dtype).removeprefix("torch.")
    assert snapshot.totals.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert snapshot.totals.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    storages = {
        t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in [*parameters.values(), *buffers.values()]
    }
    assert snapshot.totals.bytes == sum(storages.values())


@pytest.mark.parametrize("values", ["off", "sample", "full"])
def test_leaves_the_model_as_it_was(tiny_llama, values):
    model = get_peft_model(tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"]))
    model(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    before = {
        name: (p, p._version, p.requires_grad, p.grad.clone() if p.grad is not None else None, p.detach().clone())
        for name, p in model.named_parameters()
    }
    attributes = {name: dict(vars(module)) for name, module in model.named_modules()}
    random_state = torch.get_rng_state()
    capture(model, values=values)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert {name: dict(vars(module)) for name, module in model.named_modules()} == attributes
    for name, parameter in model.named_parameters():
        same, version, requires_grad, grad, value = before[name]
        assert parameter is same
        assert (parameter._version, parameter.requires_grad) == (version, requires_grad)
        assert torch.equal(parameter, value)
        assert (parameter.grad is None) == (grad is None)
        assert grad is None or torch.equal(parameter.grad, grad)


def test_keeps_nothing_alive():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    references = [weakref.ref(item) for item in (model, model[0], model[0].weight, model[1].running_mean)]
    snapshot = capture(model, values="full")
    del model
    gc.collect()
    assert [reference() for reference in references] == [None] * 4
    assert snapshot.totals.modules == 3


def test_same_model_gives_equal_snapshots_and_an_empty_diff(tiny_llama):
    model = tiny_llama()
    first, second = capture(model, label="one"), capture(model, label="two")
    assert first == second
    assert not diff(first, second)
    assert list(diff(first, second)) == []


def test_serial_numbers_are_never_reused():
    registry = IdentityRegistry()
    seen = set()
    for _ in range(200):
        module = nn.Identity()
        (serial,) = registry.serials([module])
        assert registry.serials([module, module]).tolist() == [serial, serial]
        assert serial not in seen
        seen.add(serial)
        del module


def test_serial_numbers_of_many_objects_that_come_and_go():
    registry = IdentityRegistry()
    first = [nn.Identity() for _ in range(300)]
    serials = registry.serials(first).tolist()
    assert serials == list(range(300))
    del first[::2]
    later = [nn.Identity() for _ in range(300)]  # many of them where one that is gone had been
    mixed = [*first, *later, *reversed(first)]
    again = registry.serials(mixed).tolist()
    assert again[:150] == serials[1::2] == again[:449:-1]
    assert sorted(again[150:450]) == list(range(300, 600))


def test_a_shared_module_of_peft_shows_its_state_in_each_place():
    model = get_peft_model(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), VeraConfig(r=2, target_modules=["0", "1"]))
    snapshot = capture(model)
    places = snapshot.find("*vera_A")
    shared = [place for place in places if place.type.endswith("BufferDict")]
    assert len(shared) == 3
    assert [place.alias_of is None for place in shared].count(True) == 1
    assert {place.identity for place in shared} == {shared[0].identity}
    assert all(place.state == {"persistent": True} for place in shared)


def test_layers_that_differ_in_one_attribute_keep_their_own_state():
    model = get_peft_model(
        nn.Sequential(*(nn.Linear(4, 4) for _ in range(6))),
        LoraConfig(r=2, target_modules=[str(index) for index in range(6)]),
    )
    layers = [model.base_model.model[index] for index in range(6)]
    layers[3].scaling["default"] = 5.0
    layers[4].lora_variant = {"default": object()}
    snapshot = capture(model)
    states = [snapshot.module(f"base_model.model.{index}").state for index in range(6)]
    assert states[0] == states[1] == states[2] == states[5]
    assert states[3] == {**states[0], "scaling": {"default": 5.0}}
    assert states[4] == {**states[0], "lora_variant": {"default": {"!type": "builtins.object"}}}


def test_shared_modules_are_expanded_at_their_first_occurrence():
    model = Shared()
    snapshot = capture(model)
    assert snapshot.module_paths() == expected_module_paths(model)
    assert snapshot.module("shallow").alias_of == "deep.inner.leaf"
    assert snapshot.module("last").alias_of == "deep.inner.leaf"
    assert snapshot.tensor("shallow.0.weight").path == "deep.inner.leaf.0.weight"
    assert snapshot.totals.modules == sum(1 for _ in model.modules())
    assert snapshot.totals.parameters == 6


def test_cycles_end():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].add_module("back", model)
    assert capture(model).module_paths() == ["", "0", "0.back"]
    assert capture(model).module("0.back").alias_of == ""


def test_missing_children_and_parameters_are_no_rows():
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    model.register_module("nothing", None)
    snapshot = capture(model)
    assert snapshot.module_paths() == ["", "0"]
    assert snapshot.tensor_paths() == ["0.weight"]


def test_storage_is_counted_once():
    snapshot = capture(Sliced())
    assert snapshot.tensor("bottom").shared_with == ("top",)
    assert snapshot.tensor("part").storage_nbytes == 32
    assert snapshot.tensor("part").nbytes == 16
    assert not snapshot.tensor("part").persistent
    assert snapshot.totals.bytes == 6 * 4 * 4 + 32
    assert snapshot.totals.parameters == 24


def test_meta_tensors_share_by_object_only():
    model = nn.Sequential(
        nn.Linear(4, 4, device="meta"), nn.Linear(4, 4, device="meta"), nn.Linear(4, 4, device="meta")
    )
    model[2].weight = model[0].weight
    snapshot = capture(model, values="full")
    assert snapshot.tensor("2.weight").shared_with == ("0.weight",)
    assert snapshot.tensor("1.weight").shared_with == ()
    assert snapshot.tensor("0.weight").fingerprint is None
    assert snapshot.totals.bytes == 2 * 64 + 3 * 16


@pytest.mark.parametrize("values", ["sample", "full"])
def test_a_changed_value_is_seen(values):
    model = nn.Linear(64, 64)
    before = capture(model, values=values)
    model.weight.data = model.weight.data + 1e-3  # the version counter does not notice
    changes = list(diff(before, capture(model, values=values)))
    assert [(change.path, change.field) for change in changes] == [("weight", "values")]


def test_one_changed_element_needs_all_values():
    model = nn.Linear(64, 64)
    before, sampled = capture(model, values="full"), capture(model, values="sample")
    with torch.no_grad():
        model.weight[3, 5] += 1
    assert [change.field for change in diff(before, capture(model, values="full"))] == ["values"]
    assert [change.field for change in diff(sampled, capture(model, values="sample"))] in (["values"], ["version"])


def test_lazy_sparse_and_inference_tensors_are_recorded():
    model = nn.Module()
    model.lazy = nn.LazyLinear(4)
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    with torch.inference_mode():
        model.register_buffer("inference", torch.ones(2))
    snapshot = capture(model, values="full")
    assert snapshot.tensor("lazy.weight").type.endswith("UninitializedParameter")
    assert snapshot.tensor("sparse").shape == (3, 3)
    assert snapshot.tensor("inference").version == 0


def test_script_modules_are_read():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scripting is deprecated, and still found in the wild
        scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    snapshot = capture(nn.Sequential(scripted, nn.Linear(2, 2)))
    assert "0.0" in snapshot.module_paths()
    assert snapshot.tensor("0.0.weight").shape == (2, 2)


def test_hooks_are_named_without_addresses():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].register_forward_hook(test_hooks_are_named_without_addresses)
    model[1].register_full_backward_hook(lambda *_: None)
    snapshot = capture(model)
    assert snapshot.module("0").hooks == (f"forward:{__name__}.test_hooks_are_named_without_addresses",)
    assert snapshot.module("1").hooks == (
        f"backward:{__name__}.test_hooks_are_named_without_addresses.<locals>.<lambda>",
    )


def test_roles_and_adapters_of_a_real_peft_model(tiny_llama):
    model = get_peft_model(
        tiny_llama(), LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"]), "math"
    )
    snapshot = capture(model)
    layer = "base_model.model.model.layers.0.self_attn"
    roles = {
        "": Role.WRAPPER,
        "base_model": Role.WRAPPER,
        "base_model.model": Role.BASE,
        f"{layer}.q_proj": Role.WRAPPER,
        f"{layer}.q_proj.base_layer": Role.WRAPPED,
        f"{layer}.q_proj.lora_A": Role.SHARED,
        f"{layer}.q_proj.lora_A.math": Role.ADAPTER,
        f"{layer}.k_proj": Role.BASE,
        "base_model.model.lm_head": Role.WRAPPER,
        "base_model.model.lm_head.original_module": Role.WRAPPED,
        "base_model.model.lm_head.modules_to_save.math": Role.SAVED,
    }
    assert {path: snapshot.module(path).role for path in roles} == roles
    assert snapshot.tensor(f"{layer}.q_proj.lora_A.math.weight").adapter == "math"
    assert [(a.name, a.method, a.active) for a in snapshot.adapters] == [("math", "LORA", True)]
    assert snapshot.adapter_state.handle == "PeftModel"
    assert snapshot.module(f"{layer}.q_proj").state["r"] == {"math": 2}


def test_a_wrapped_module_is_the_same_module(tiny_llama):
    base = tiny_llama()
    before = capture(base)
    changes = diff(before, capture(get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))))
    wrapped = {change.old_path: change.path for change in changes if change.kind == "wrapped"}
    layer = "model.layers.1.self_attn.q_proj"
    assert wrapped[layer] == f"base_model.model.{layer}.base_layer"
    assert changes.renames[f"{layer}.weight"] == f"base_model.model.{layer}.base_layer.weight"
    assert not any(change.kind in ("removed", "replaced") for change in changes)


@pytest.mark.parametrize("scope", [lambda _: object(), lambda snapshot: snapshot.scope], ids=["file", "process"])
def test_another_model_is_matched_by_path_and_wrapping(tiny_llama, scope):
    base = tiny_llama()
    before = capture(base)
    before.scope = scope(before)
    after = capture(get_peft_model(copy.deepcopy(base), LoraConfig(r=2, target_modules=["q_proj"])))
    wrapped = {change.old_path: change.path for change in diff(before, after) if change.kind == "wrapped"}
    layer = "model.layers.1.self_attn.q_proj"
    assert wrapped[layer] == f"base_model.model.{layer}.base_layer"


@pytest.mark.parametrize("thing", [None, {}, nn.Linear, "model"])
def test_what_is_no_model_is_refused(thing):
    with pytest.raises(PeftvizError) as caught:
        capture(thing)
    assert isinstance(caught.value, TypeError)
    assert caught.value.where
    assert caught.value.hint


def test_the_base_says_what_it_ties_and_how_it_is_set_up() -> None:
    plain = audited.base(tie=True)
    before = capture(plain).base
    assert before.tied == ("model.embed_tokens", "lm_head")
    assert before.config["tie_word_embeddings"] is True
    assert "transformers_version" not in before.config
    with audited.peft_warns():
        model = get_peft_model(plain, audited.lora(modules_to_save=["lm_head"]))
    assert capture(model).base.tied == before.tied, "paths count from the base model"
    assert capture(audited.base()).base.tied == ()
    assert capture(nn.Linear(2, 2)).base == BaseModel(attributes=("in_features", "out_features"))


def test_only_names_of_buffers_that_are_gone_are_state() -> None:
    with audited.peft_warns():
        model = get_peft_model(audited.base(), VeraConfig(r=2, target_modules=["q_proj"], save_projection=False))
    slot = "_non_persistent_buffers_set"
    assert not any(slot in text for text in capture(model).states)
    del model.base_model.vera_A["default"]
    named = [row for row in capture(model).find("*") if slot in getattr(row, "state", {})]
    assert {row.name for row in named} == {"vera_A"}, "its layers hold the same object"
    assert capture(model).module("base_model.vera_A").state[slot] == ["default"]


def test_looks_past_torch_functions(tiny_llama) -> None:
    class Counted(nn.Parameter):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            called.append(function)
            return super().__torch_function__(function, types, args, kwargs or {})

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            called.append(function)
            return function(*args, **(kwargs or {}))

    called: list[object] = []
    model = tiny_llama()
    model.lm_head.weight = Counted(model.lm_head.weight.detach())
    called.clear()
    alone = capture(model, values="full")
    with torch.device("meta"), Mode():
        within = capture(model, values="full")
    assert called == []
    assert alone == within


@pytest.mark.parametrize("values", ["sample", "full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.bool])
def test_values_are_those_that_a_reader_sees_however_they_lie_in_memory(values: str, dtype: torch.dtype) -> None:
    for shape in [(), (1,), (63,), (64,), (65,), (3, 50), (128, 96), (0, 4)]:
        plain = torch.randn(shape).mul(9).to(dtype)
        apart = torch.empty_strided(shape, [3 * step for step in plain.stride()], dtype=dtype).copy_(plain)
        models = [nn.Module(), nn.Module(), nn.Module()]
        models[0].register_buffer("values", plain)
        models[1].register_buffer("values", apart)
        models[2].register_buffer("values", plain.conj().resolve_conj().conj())
        fingerprints = {int(capture(model, values=values).tensors.fingerprint[0]) for model in models}
        assert len(fingerprints) == 1
        assert (fingerprints == {0}) == (plain.numel() == 0)
