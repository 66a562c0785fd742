"""The story that the golden texts tell, as stand-ins: a model gets two adapters with a trained head, one is deleted."""

from __future__ import annotations

from typing import Any

from peftviz.core.rows import Adapter, AdapterState
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import Role
from tests.core.stand_in import Model, Node, Slot, Tensor

LINEAR = "torch.nn.modules.linear.Linear"
DICT = "torch.nn.modules.container.ModuleDict"


def linear(model: Model, rows: int, columns: int, role: Role = Role.BASE, adapter: str = "", **tensor: Any) -> Node:
    """A linear layer without bias."""
    weight = Tensor(model.serial(), (rows, columns), "bfloat16", **tensor)
    node = Node(model.serial(), LINEAR, role=role, adapter=adapter)
    node.tensors["weight"] = Slot(weight, role=role, adapter=adapter)
    return node


def plain(layers: int = 4) -> Model:
    """A transformer with an attention of two projections and a head."""
    model = Model(Node(0), scope=object(), label="plain")
    model.root = Node(model.serial(), "zoo.TinyForCausalLM")
    body = Node(model.serial(), "zoo.TinyModel")
    stack = Node(model.serial(), "torch.nn.modules.container.ModuleList")
    for index in range(layers):
        block = Node(model.serial(), "zoo.TinyLayer")
        block.children = {"q_proj": linear(model, 64, 64), "v_proj": linear(model, 64, 64)}
        stack.children[str(index)] = block
    body.children = {"embed": linear(model, 1000, 64), "layers": stack}
    model.root.children = {"model": body, "lm_head": linear(model, 1000, 64)}
    return model


def _set_state(model: Model, names: tuple[str, ...]) -> None:
    model.adapters = tuple(Adapter(name, "LORA", {"r": 8}, active=name == names[0]) for name in names)
    model.adapter_state = AdapterState("PeftModel", "LoraModel", names[:1], True, (("base_model", names),))


def adapted(before: Model, *names: str) -> Model:
    """The same model with LoRA on both projections and a trained copy of the head for each name."""
    model = before.copy()
    model.label = "with adapters"
    for node in model.nodes():
        for slot in node.tensors.values():
            slot.tensor.requires_grad = False
    base = model.root
    stack = base.children["model"].children["layers"]
    for block in stack.children.values():
        for name, inner in list(block.children.items()):
            block.children[name] = _lora(model, inner, names)
    base.children["lm_head"] = _saved(model, base.children["lm_head"], names)
    tuner = Node(model.serial(), "peft.tuners.lora.model.LoraModel", role=Role.WRAPPER, children={"model": base})
    handle = "peft.peft_model.PeftModel"
    model.root = Node(model.serial(), handle, role=Role.WRAPPER, children={"base_model": tuner})
    _set_state(model, names)
    return model


def _lora(model: Model, inner: Node, names: tuple[str, ...]) -> Node:
    inner.role = inner.tensors["weight"].role = Role.WRAPPED
    a, b, dropout = (Node(model.serial(), DICT, role=Role.SHARED) for _ in range(3))
    for name in names:
        a.children[name] = linear(model, 8, 64, Role.ADAPTER, name)
        b.children[name] = linear(model, 64, 8, Role.ADAPTER, name)
        identity = "torch.nn.modules.linear.Identity"
        dropout.children[name] = Node(model.serial(), identity, role=Role.ADAPTER, adapter=name)
    wrapper = Node(model.serial(), "peft.tuners.lora.layer.Linear", role=Role.WRAPPER)
    wrapper.state = {"_active_adapter": list(names[:1]), "r": dict.fromkeys(names, 8)}
    wrapper.children = {"base_layer": inner, "lora_dropout": dropout, "lora_A": a, "lora_B": b}
    return wrapper


def _saved(model: Model, inner: Node, names: tuple[str, ...]) -> Node:
    inner.role = inner.tensors["weight"].role = Role.WRAPPED
    copies = Node(model.serial(), DICT, role=Role.SHARED)
    copies.children = {name: linear(model, 1000, 64, Role.SAVED, name) for name in names}
    wrapper = Node(model.serial(), "peft.utils.other.ModulesToSaveWrapper", role=Role.WRAPPER)
    wrapper.state = {"_active_adapter": names[0]}
    wrapper.children = {"original_module": inner, "modules_to_save": copies}
    return wrapper


def half_deleted(before: Model, name: str) -> Model:
    """The classic: the adapter's layers and config are gone, its copy of the head is still there."""
    model = before.copy()
    model.label = f"after delete_adapter({name!r})"
    for node in model.nodes():
        if node.type == DICT and any(child.role is Role.ADAPTER for child in node.children.values()):
            del node.children[name]
        if node.type == "peft.tuners.lora.layer.Linear":
            node.state = {**node.state, "r": {key: rank for key, rank in node.state["r"].items() if key != name}}
    _set_state(model, tuple(adapter.name for adapter in model.adapters if adapter.name != name))
    return model


def story(layers: int = 4) -> tuple[Snapshot, Snapshot, Snapshot]:
    """Plain, with adapters `default` and `math`, and after the deletion of `math` that left its head behind."""
    first = plain(layers)
    second = adapted(first, "default", "math")
    return first.snapshot(), second.snapshot(), half_deleted(second, "math").snapshot()
