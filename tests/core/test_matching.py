"""On what evidence rows are matched, on snapshots built by hand."""

from __future__ import annotations

from peftviz.core.diff import Diff, diff
from peftviz.core.matching import Evidence
from peftviz.core.tables import Role
from tests.core.stand_in import Model, Node, Slot, Tensor


def layer(model: Model, fingerprint: int = 0) -> Node:
    node = Node(model.serial(), "torch.nn.modules.linear.Linear")
    node.tensors["weight"] = Slot(Tensor(model.serial(), (2, 2), fingerprint=fingerprint))
    return node


def plain() -> Model:
    model = Model(Node(0, "my.Model"), scope=object())
    block = model.root.children["block"] = Node(model.serial(), "my.Block")
    block.children["q"] = layer(model)
    block.children["k"] = layer(model)
    return model


def wrap(model: Model, inner: Node) -> Node:
    wrapper = Node(model.serial(), "peft.tuners.lora.layer.Linear", role=Role.WRAPPER)
    container = Node(model.serial(), "torch.nn.modules.container.ModuleDict", role=Role.SHARED)
    inner.role = Role.WRAPPED if inner.role is Role.BASE else inner.role
    wrapper.children = {"base_layer": inner, "lora_A": container}
    return wrapper


def evidence(changes: Diff) -> dict[str, tuple[str, Evidence]]:
    """Path after, path before and evidence of each matched module."""
    old, new = changes.before.module_paths(), changes.after.module_paths()
    return {
        new[row]: (old[source], Evidence(int(changes.matching.module_evidence[row])))
        for row, source in enumerate(changes.module_source.tolist())
        if source >= 0
    }


def test_objects_of_one_process_are_matched_by_identity_and_others_in_their_place_by_path() -> None:
    before = plain()
    after = before.copy()
    block = after.root.children["block"]
    block.children = {"q": wrap(after, block.children["q"]), "k": layer(after)}
    assert evidence(diff(before.snapshot(), after.snapshot())) == {
        "": ("", Evidence.IDENTITY),
        "block": ("block", Evidence.IDENTITY),
        "block.q.base_layer": ("block.q", Evidence.IDENTITY),
        "block.k": ("block.k", Evidence.PATH),
    }


def test_in_another_process_what_a_wrapper_holds_is_matched_to_what_stood_in_its_place() -> None:
    before = plain()
    after = before.elsewhere()
    block = after.root.children["block"]
    block.children["q"] = wrap(after, wrap(after, block.children["q"]))
    after.root = wrap(after, after.root)
    changes = diff(before.snapshot(), after.snapshot())
    assert evidence(changes) == {
        "base_layer": ("", Evidence.WRAPPING),
        "base_layer.block": ("block", Evidence.PATH),
        "base_layer.block.q.base_layer.base_layer": ("block.q", Evidence.WRAPPING),
        "base_layer.block.k": ("block.k", Evidence.PATH),
    }
    back = diff(after.snapshot(), before.snapshot())
    assert evidence(back) == {old: (new, kind) for new, (old, kind) in evidence(changes).items()}
    assert changes.renames["block.q.weight"] == "base_layer.block.q.base_layer.base_layer.weight"


def test_wrappers_on_both_sides_are_matched_to_each_other() -> None:
    before = plain()
    block = before.root.children["block"]
    block.children["q"] = wrap(before, block.children["q"])
    after = before.elsewhere()
    assert {kind for _, kind in evidence(diff(before.snapshot(), after.snapshot())).values()} == {Evidence.PATH}


def test_a_wrapper_that_may_hold_either_of_two_modules_is_matched_itself() -> None:
    before = plain()
    after = before.elsewhere()
    block = after.root.children["block"]
    wrapper = block.children["q"] = wrap(after, block.children["q"])
    wrapper.children["other"] = layer(after)
    matched = evidence(diff(before.snapshot(), after.snapshot()))
    assert matched["block.q"] == ("block.q", Evidence.PATH)
    assert not [path for path in matched if path.startswith("block.q.")]


def test_what_moved_to_another_place_in_another_process_is_found_by_its_values() -> None:
    before = plain()
    before.root.children["head"] = layer(before, fingerprint=7)
    after = before.elsewhere()
    after.root.children["block"].children["head"] = after.root.children.pop("head")
    matched = evidence(diff(before.snapshot(), after.snapshot()))
    assert matched["block.head"] == ("head", Evidence.CONTENT)
