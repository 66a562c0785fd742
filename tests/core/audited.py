"""A stand-in of a PEFT model for the tests of single rules: two LoRA layers and a saved head, without torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from peftviz.core.rows import Adapter, AdapterState
from peftviz.core.tables import Role
from tests.core.stand_in import Model, Node, Slot, Storage, Tensor

DICT = "torch.nn.modules.container.ModuleDict"
LINEAR = "torch.nn.modules.linear.Linear"


class Audited:
    """Builds the model piece by piece; every piece can be bent before the snapshot is taken."""

    def __init__(self, adapters: Iterable[str] = ("a", "b"), *, active: str = "a") -> None:
        self.serial = 0
        self.names = list(adapters)
        self.scope = object()
        self.layers = {name: self.layer(self.names, active) for name in ("q", "v")}
        self.head = self.wrapper(self.names, active)
        base = self.node("models.Tiny", children={**self.layers, "head": self.head})
        self.tuner = self.node("peft.LoraModel", Role.WRAPPER, {"active_adapter": [active]}, {"model": base})
        self.root = self.node("peft.PeftModel", Role.WRAPPER, {"active_adapter": active}, {"base_model": self.tuner})
        self.registered = list(self.names)
        self.configs: dict[str, dict[str, Any]] = {name: {"target_modules": ["q", "v"]} for name in self.names}

    def next(self) -> int:
        self.serial += 1
        return self.serial

    def node(
        self,
        kind: str,
        role: Role = Role.BASE,
        state: dict[str, Any] | None = None,
        children: dict[str, Node] | None = None,
    ) -> Node:
        return Node(self.next(), kind, role=role, state=state or {}, children=children or {})

    def linear(self, role: Role, adapter: str = "", *, trains: bool = False) -> Node:
        node = self.node(LINEAR, role)
        node.adapter = adapter
        tensor = Tensor(self.next(), requires_grad=trains, fingerprint=self.serial, storage=Storage())
        node.tensors["weight"] = Slot(tensor, role=role, adapter=adapter)
        return node

    def layer(self, names: Iterable[str], active: str) -> Node:
        names = list(names)
        container = self.node(DICT, Role.SHARED)
        container.children = {name: self.linear(Role.ADAPTER, name, trains=name == active) for name in names}
        state = {
            "_active_adapter": [active],
            "_disable_adapters": False,
            "merged_adapters": [],
            "r": dict.fromkeys(names, 4),
            "use_dora": dict.fromkeys(names, False),
        }
        children = {"base_layer": self.linear(Role.WRAPPED), "lora_A": container}
        return self.node("peft.tuners.lora.layer.Linear", Role.WRAPPER, state, children)

    def wrapper(self, names: Iterable[str], active: str) -> Node:
        names = list(names)
        container = self.node(DICT, Role.SHARED)
        container.children = {name: self.linear(Role.SAVED, name, trains=name == active) for name in names}
        state = {"_active_adapter": [active], "_adapters": names, "_disable_adapters": False}
        children = {"original_module": self.linear(Role.WRAPPED), "modules_to_save": container}
        return self.node("peft.utils.other.ModulesToSaveWrapper", Role.WRAPPER, state, children)

    def forget(self, name: str, *, layers: bool = True, head: bool = True) -> None:
        """Deletes an adapter, as far as asked."""
        self.registered.remove(name)
        self.configs.pop(name)
        if layers:
            for layer in self.layers.values():
                del layer.children["lora_A"].children[name]
                for attribute in ("r", "use_dora"):
                    del layer.state[attribute][name]
        if head:
            del self.head.children["modules_to_save"].children[name]
            self.head.state["_adapters"].remove(name)

    def model(self) -> Model:
        registries = [("base_model", tuple(self.registered)), ("base_model.model", tuple(self.registered))]
        adapters = tuple(Adapter(name, "LORA", self.configs[name]) for name in self.registered)
        state = AdapterState("PeftModel", "LoraModel", tuple(self.registered[:1]), True, tuple(registries))
        return Model(self.root, adapters=adapters, adapter_state=state, scope=self.scope)
