"""The JSON header of a snapshot file: typed reading of what may come from anyone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from peftviz.core.codec import damaged
from peftviz.core.container import canonical_json, parse_json
from peftviz.core.rows import Adapter, AdapterState, BaseModel
from peftviz.core.tables import TensorSpec

Kind = TypeVar("Kind")
MAX_SIZE = 2**62


class Fields:
    """One JSON object that is read field by field; each access checks the type.

    Args:
        value: What was parsed.
        where: What to call the place in an error.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise damaged("a JSON object is missing", where)
        self.where = where
        self._left = dict(value)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, kind: type[Kind]) -> Kind:
        """The value of a field that must be there and of that very type.

        Raises:
            SnapshotFileError: It is not.
        """
        value = self._left.pop(name, None)
        if type(value) is not kind:
            raise damaged(f"field {name!r} is missing or of a wrong type", self.where)
        return value

    def text(self, name: str) -> str:
        """A string."""
        return self.take(name, str)

    def flag(self, name: str) -> bool:
        """A truth value."""
        return self.take(name, bool)

    def items(self, name: str) -> list[Any]:
        """A list of anything."""
        return self.take(name, list)

    def mapping(self, name: str) -> dict[str, Any]:
        """An object of anything."""
        return self.take(name, dict)

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        values = self.items(name)
        if not all(type(value) is str for value in values):
            raise damaged(f"field {name!r} holds something else than strings", self.where)
        return values

    def text_mapping(self, name: str) -> dict[str, str]:
        """An object of strings."""
        values = self.mapping(name)
        if not all(type(value) is str for value in values.values()):
            raise damaged(f"field {name!r} holds something else than strings", self.where)
        return values

    def integers(self, name: str, count: int | None, low: int, high: int) -> list[int]:
        """A list of integers within bounds, both included; of any length when `count` is None."""
        values = self.items(name)
        if (count is not None and len(values) != count) or not all(
            type(value) is int and low <= value <= high for value in values
        ):
            raise damaged(f"field {name!r} has a wrong length or a value out of range", self.where)
        return values

    def optional(self, name: str, kind: type[Kind]) -> Kind | None:
        """A value of that type, or null."""
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return None
        return self.take(name, kind)

    def done(self) -> None:
        """Checks that every field was read.

        Raises:
            SnapshotFileError: There is a field that no file of this schema has.
        """
        if self._left:
            raise damaged(f"field {min(self._left)!r} is unknown", self.where)


def write_spec(spec: TensorSpec) -> dict[str, Any]:
    """A tensor spec as JSON."""
    return {
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "device": spec.device,
        "sizes": [spec.numel, spec.nbytes],
        "type": spec.type,
    }


def read_spec(value: Any, where: str) -> TensorSpec:
    """The tensor spec that `write_spec` wrote."""
    fields = Fields(value, f"{where}, tensor spec")
    numel, nbytes = fields.integers("sizes", 2, 0, MAX_SIZE)
    spec = TensorSpec(
        shape=tuple(fields.integers("shape", None, 0, MAX_SIZE)),
        dtype=fields.text("dtype"),
        device=fields.text("device"),
        numel=numel,
        nbytes=nbytes,
        type=fields.text("type"),
    )
    fields.done()
    return spec


def write_adapter(adapter: Adapter) -> dict[str, Any]:
    """An adapter as JSON."""
    return {
        "name": adapter.name,
        "method": adapter.method,
        "config": dict(adapter.config),
        "flags": [adapter.active, adapter.merged, adapter.inference],
    }


def read_adapter(value: Any, where: str) -> Adapter:
    """The adapter that `write_adapter` wrote."""
    fields = Fields(value, f"{where}, adapter")
    flags = fields.items("flags")
    if len(flags) != 3 or not all(type(flag) is bool for flag in flags):
        raise damaged("the flags of an adapter are not three truth values", fields.where)
    active, merged, inference = flags
    adapter = Adapter(
        name=fields.text("name"),
        method=fields.text("method"),
        config=fields.mapping("config"),
        active=active,
        merged=merged,
        inference=inference,
    )
    fields.done()
    return adapter


def write_adapter_state(state: AdapterState) -> dict[str, Any]:
    """The state of the adapters as a whole as JSON."""
    return {
        "handle": state.handle,
        "tuner": state.tuner,
        "active": list(state.active),
        "enabled": state.enabled,
        "registries": [{"path": path, "names": list(names)} for path, names in state.registries],
    }


def read_adapter_state(value: Mapping[str, Any], where: str) -> AdapterState:
    """The state that `write_adapter_state` wrote."""
    fields = Fields(value, f"{where}, adapter state")
    registries = []
    for item in fields.items("registries"):
        registry = Fields(item, f"{fields.where}, registry")
        registries.append((registry.text("path"), tuple(registry.texts("names"))))
        registry.done()
    state = AdapterState(
        handle=fields.text("handle"),
        tuner=fields.optional("tuner", str),
        active=tuple(fields.texts("active")),
        enabled=fields.optional("enabled", bool),
        registries=tuple(registries),
    )
    fields.done()
    return state


def write_base(base: BaseModel) -> dict[str, Any]:
    """What the base model says of itself as JSON."""
    return {"config": dict(base.config), "attributes": list(base.attributes), "tied": list(base.tied)}


def read_base(value: Mapping[str, Any], where: str) -> BaseModel:
    """What `write_base` wrote."""
    fields = Fields(value, f"{where}, base model")
    base = BaseModel(
        config=fields.mapping("config"),
        attributes=tuple(fields.texts("attributes")),
        tied=tuple(fields.texts("tied")),
    )
    if len(base.tied) not in (0, 2):
        raise damaged("a tie has not two ends", fields.where)
    fields.done()
    return base


def read_state(text: str, where: str) -> None:
    """Checks that an entry of the dictionary of module states is what a snapshot may hold.

    Raises:
        SnapshotFileError: It is no canonical JSON object.
    """
    value = parse_json(text, f"{where}, module state")
    if not isinstance(value, dict) or canonical_json(value) != text:
        raise damaged("a module state is no canonical JSON object", where)


def read_hooks(text: str, where: str) -> None:
    """Checks that an entry of the dictionary of hooks is what a snapshot may hold.

    Raises:
        SnapshotFileError: It is no JSON list of strings.
    """
    value = parse_json(text, f"{where}, hooks")
    if not isinstance(value, list) or not all(type(item) is str for item in value):
        raise damaged("a list of hooks is no JSON list of strings", where)
