"""Snapshots built by hand: look-ups, paths, aliases, sums."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from peftviz.core.rows import ModuleRow, TensorRow
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import Role
from peftviz.errors import LookupFailure
from tests.core.stand_in import Model, Node, Slot, Storage, Tensor

LINEAR = "torch.nn.modules.linear.Linear"


def linear(model: Model, *shape: int, bias: bool = False) -> Node:
    node = Node(model.serial(), LINEAR, training=True)
    node.tensors["weight"] = Slot(Tensor(model.serial(), shape))
    if bias:
        node.tensors["bias"] = Slot(Tensor(model.serial(), shape[:1], requires_grad=False))
    return node


def build() -> Model:
    """Two layers, the second one shared; a head tied to the embedding; a buffer; a LoRA wrapper."""
    model = Model(Node(0, "my.Model"), scope=object())
    root = model.root
    root.children["embed"] = linear(model, 10, 4)
    layers = root.children["layers"] = Node(model.serial(), "torch.nn.modules.container.ModuleList")
    layer = layers.children["0"] = Node(model.serial(), "my.Layer", hooks=["forward:a.b"])
    wrapper = layer.children["q_proj"] = Node(
        model.serial(), "peft.tuners.lora.layer.Linear", role=Role.WRAPPER, state={"r": {"default": 2}}
    )
    base = wrapper.children["base_layer"] = linear(model, 4, 4, bias=True)
    base.role = Role.WRAPPED
    container = wrapper.children["lora_A"] = Node(model.serial(), "torch.nn.modules.container.ModuleDict")
    weights = container.children["default"] = linear(model, 2, 4)
    weights.role, weights.adapter = Role.ADAPTER, "default"
    weights.tensors["weight"].adapter = "default"
    layers.children["1"] = layer
    head = root.children["lm_head"] = Node(model.serial(), LINEAR)
    head.tensors["weight"] = Slot(root.children["embed"].tensors["weight"].tensor)
    root.tensors["mask"] = Slot(Tensor(model.serial(), (3,), dtype="int8", requires_grad=False), True, False)
    return model


@pytest.fixture
def snapshot() -> Snapshot:
    return build().snapshot()


def test_modules_are_found_by_path(snapshot: Snapshot) -> None:
    module = snapshot.module("layers.0.q_proj")
    assert isinstance(module, ModuleRow)
    assert (module.path, module.name, module.class_name) == ("layers.0.q_proj", "q_proj", "Linear")
    assert (module.role, module.adapter, module.training) == (Role.WRAPPER, None, False)
    assert dict(module.state) == {"r": {"default": 2}}
    assert snapshot.module("layers.0").hooks == ("forward:a.b",)
    assert snapshot.module("layers.0.q_proj.lora_A.default").adapter == "default"
    assert snapshot.module("").path == ""
    assert snapshot.root_class == "Model"


def test_tensors_are_found_by_path(snapshot: Snapshot) -> None:
    tensor = snapshot.tensor("layers.0.q_proj.base_layer.bias")
    assert isinstance(tensor, TensorRow)
    assert (tensor.owner, tensor.name, tensor.kind) == ("layers.0.q_proj.base_layer", "bias", "parameter")
    assert (tensor.shape, tensor.dtype, tensor.device, tensor.numel, tensor.nbytes) == ((4,), "float32", "cpu", 4, 16)
    assert (tensor.requires_grad, tensor.persistent, tensor.fingerprint) == (False, True, None)
    mask = snapshot.tensor("mask")
    assert (mask.kind, mask.persistent, mask.owner, mask.nbytes) == ("buffer", False, "", 3)
    assert snapshot.tensor("layers.0.q_proj.lora_A.default.weight").adapter == "default"


def hint(look_up: Callable[[str], object], path: str) -> str:
    """What the error says to do when a path is looked up that the snapshot does not have."""
    with pytest.raises(LookupFailure) as caught:
        look_up(path)
    assert path in caught.value.what
    return caught.value.hint


def test_unknown_paths_name_what_is_near(snapshot: Snapshot) -> None:
    assert hint(snapshot.module, "layers.0.q_prj") == "Did you mean 'layers.0.q_proj'?"
    assert hint(snapshot.tensor, "embed.wieght") == "Did you mean 'embed.weight'?"
    assert hint(snapshot.module, "layers.0.nothing_alike").startswith("Known: 'layers.0.q_proj'")
    with pytest.raises(KeyError, match="no parameter or buffer 'embed'"):
        snapshot.tensor("embed")
    with pytest.raises(LookupFailure, match=r"no module 'embed\.weight'"):
        snapshot.module("embed.weight")


def test_paths_from_before_a_wrapping_name_what_they_became(snapshot: Snapshot) -> None:
    assert hint(snapshot.tensor, "q_proj.bias") == "Did you mean 'layers.0.q_proj.base_layer.bias'?"
    assert hint(snapshot.module, "lyers.q_proj") == "Did you mean 'layers.0.q_proj'?"
    hinted = re.findall(r"'([^']+)'", hint(snapshot.tensor, "q_proj.weight"))
    assert hinted
    for path in hinted:
        assert snapshot.tensor(path).path == path


def test_a_hostile_path_is_answered_at_once(snapshot: Snapshot) -> None:
    for path in ("x" * 100_000, "." * 1_000, "q_proj." * 200 + "weight", ""):
        with pytest.raises(LookupFailure):
            snapshot.tensor(path)


def test_find_matches_modules_and_tensors_in_tree_order(snapshot: Snapshot) -> None:
    assert [row.path for row in snapshot.find("layers.0.q_proj.base_layer*")] == [
        "layers.0.q_proj.base_layer",
        "layers.0.q_proj.base_layer.weight",
        "layers.0.q_proj.base_layer.bias",
    ]
    assert [row.path for row in snapshot.find("*head*")] == ["lm_head", "lm_head.weight"]
    assert snapshot.find("nothing") == []
    assert len(snapshot.find("*")) == len(snapshot.modules) + len(snapshot.tensors)


def test_an_alias_is_a_row_without_contents_that_names_the_first(snapshot: Snapshot) -> None:
    alias = snapshot.module("layers.1")
    assert alias.alias_of == "layers.0"
    assert alias.identity == snapshot.module("layers.0").identity
    assert snapshot.module("layers.0").alias_of is None
    assert len(snapshot.child_rows(alias.row)) == len(snapshot.tensor_rows_of(alias.row)) == 0
    assert snapshot.module("layers.1.q_proj").row == snapshot.module("layers.0.q_proj").row
    assert (
        snapshot.tensor("layers.1.q_proj.base_layer.bias").row == snapshot.tensor("layers.0.q_proj.base_layer.bias").row
    )


def test_a_cycle_ends_at_the_second_occurrence() -> None:
    model = Model(Node(0))
    model.root.children["self"] = model.root
    snapshot = model.snapshot()
    assert snapshot.module_paths() == ["", "self"]
    assert snapshot.module("self.self.self").row == 1
    assert snapshot.totals.modules == 1


def test_the_tree_is_given_by_depth_and_subtree_end(snapshot: Snapshot) -> None:
    by_path = dict(
        zip(
            snapshot.module_paths(),
            zip(snapshot.depth.tolist(), snapshot.subtree_end.tolist(), strict=True),
            strict=True,
        )
    )
    rows = {path: row for row, path in enumerate(snapshot.module_paths())}
    assert by_path[""] == (0, len(rows))
    assert by_path["layers.0.q_proj.lora_A.default"][0] == 5
    assert by_path["layers.0"][1] == rows["layers.1"]
    assert by_path["layers"][1] == rows["lm_head"]
    assert by_path["layers.1"] == (2, rows["layers.1"] + 1)
    assert snapshot.child_rows(0).tolist() == [rows["embed"], rows["layers"], rows["lm_head"]]


def test_tied_tensors_are_counted_once(snapshot: Snapshot) -> None:
    assert snapshot.tensor("lm_head.weight").shared_with == ("embed.weight",)
    assert snapshot.tensor("embed.weight").storage == snapshot.tensor("lm_head.weight").storage
    totals = snapshot.totals
    assert totals.modules == 9  # the shared layer counts once
    assert totals.parameters == 10 * 4 + 4 * 4 + 4 + 2 * 4
    assert totals.trainable == totals.parameters - 4
    assert totals.bytes == 4 * totals.parameters + 3


def test_slices_of_one_storage_are_counted_once() -> None:
    model = Model(Node(0))
    whole = Storage(4 * 100)
    for name, shape in {"a": (60,), "b": (30,), "overlapping": (100,)}.items():
        model.root.tensors[name] = Slot(Tensor(model.serial(), shape, storage=whole))
    snapshot = model.snapshot()
    assert (snapshot.totals.parameters, snapshot.totals.bytes) == (100, 400)
    assert snapshot.counted_bytes.tolist() == [400, 0, 0]
    assert snapshot.counted_numel.tolist() == [60, 30, 10]
    assert snapshot.tensor("a").nbytes == 240
    assert snapshot.tensor("a").shared_with == ("b", "overlapping")


def test_a_slice_alone_keeps_its_whole_storage_alive() -> None:
    model = Model(Node(0))
    model.root.tensors["row"] = Slot(Tensor(model.serial(), (4,), storage=Storage(4096)))
    assert (model.snapshot().totals.parameters, model.snapshot().totals.bytes) == (4, 4096)


def test_a_model_without_anything_has_totals_of_zero() -> None:
    snapshot = Model(Node(0, "torch.nn.modules.linear.Identity")).snapshot()
    assert (snapshot.totals.modules, snapshot.totals.parameters, snapshot.totals.bytes) == (1, 0, 0)
    assert repr(snapshot) == "Snapshot(Identity: 1 modules, 0 parameters, 0 trainable, 0 adapters)"


def test_columns_are_small_and_frozen(snapshot: Snapshot) -> None:
    for column in (*vars(snapshot.modules).values(), *vars(snapshot.tensors).values()):
        assert column.itemsize <= 4 or column.dtype == np.uint64
    with pytest.raises(ValueError, match="read-only"):
        snapshot.modules.parent[0] = 3
    with pytest.raises(TypeError):
        snapshot.environment["x"] = "y"  # type: ignore[index]
