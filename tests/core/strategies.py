"""Random snapshots, and pairs of snapshots between which something happened, for the laws."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from peftviz.core.rows import Adapter, AdapterState, BaseModel
from peftviz.core.snapshot import Snapshot
from peftviz.core.tables import Role
from tests.core.stand_in import ITEMSIZE, PARAMETER, Model, Node, Slot, Storage, Tensor

HOSTILE_NAMES = (
    "<b>x</b>",
    "a b",
    "naïve",
    "\u202egnp",
    "\ud800",
    "'\"",
    "\x00",
    "x" * 300,
    "{{7*7}}",
    "/etc",
    "-1",
    "=1+1",
)
ORDINARY_NAMES = ("0", "1", "layers", "q_proj", "base_layer", "original_module", "default", "lora_A", "weight", "bias")

names = st.sampled_from(ORDINARY_NAMES + HOSTILE_NAMES) | st.text(min_size=1, max_size=4).filter(
    lambda text: "." not in text
)
types = st.sampled_from(
    (
        "torch.nn.modules.linear.Linear",
        "torch.nn.modules.container.ModuleDict",
        "peft.tuners.lora.layer.Linear",
        "peft.utils.other.ModulesToSaveWrapper",
        "my.<i>Model</i>",
    )
)
adapter_names = st.sampled_from(("", "", "default", "b", "<img src=x>"))
roles = st.sampled_from(Role)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
states = st.just({}) | st.dictionaries(
    st.sampled_from(("r", "merged_adapters", "_active_adapter", "é")), json_values, max_size=2
)
hooks = st.just([]) | st.lists(st.sampled_from(("forward_pre:a.b", "forward:<b>.c")), max_size=2)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
fingerprints = st.just(0) | st.integers(0, 2**64 - 1) | st.integers(0, 3)
labels = st.sampled_from(("", "before", "<after>"))

adapters = st.builds(
    Adapter,
    name=adapter_names.filter(bool),
    method=st.sampled_from(("LORA", "IA3")),
    config=st.dictionaries(st.text(max_size=4), json_values, max_size=2),
    active=st.booleans(),
    merged=st.booleans(),
    inference=st.booleans(),
)
adapter_states = st.builds(
    AdapterState,
    handle=st.sampled_from(("plain", "PeftModel")),
    tuner=st.none() | st.just("LoraModel"),
    active=st.lists(adapter_names, max_size=2).map(tuple),
    enabled=st.none() | st.booleans(),
    registries=st.lists(st.tuples(names, st.lists(adapter_names, max_size=2).map(tuple)), max_size=2).map(tuple),
)

bases = st.builds(
    BaseModel,
    config=st.dictionaries(st.text(max_size=4), json_values, max_size=2),
    attributes=st.lists(names, max_size=2).map(tuple),
    tied=st.just(()) | st.tuples(names, names),
)


# Parts ------------------------------------------------------------------------------------------------------------


@st.composite
def tensors(draw: st.DrawFn, model: Model) -> Tensor:
    """A new tensor, sometimes a view of the storage of another."""
    tensor = Tensor(
        model.serial(),
        shape=draw(shapes),
        dtype=draw(st.sampled_from(tuple(ITEMSIZE))),
        device=draw(st.sampled_from(("cpu", "cuda:0"))),
        type=draw(st.sampled_from((PARAMETER, "torch.Tensor"))),
        requires_grad=draw(st.booleans()),
        version=draw(st.integers(0, 300)),
        fingerprint=draw(fingerprints),
    )
    others = model.slots()
    if others and draw(st.integers(0, 3)) == 0:
        tensor.storage = draw(st.sampled_from(others)).tensor.storage
    elif draw(st.integers(0, 3)) == 0:
        tensor.storage = Storage(draw(st.integers(0, 2**40)))
    return tensor


@st.composite
def slots(draw: st.DrawFn, model: Model) -> Slot:
    """A new slot, sometimes for a tensor that the model has already."""
    others = model.slots()
    tied = bool(others) and draw(st.integers(0, 3)) == 0
    tensor = draw(st.sampled_from(others)).tensor if tied else draw(tensors(model))
    return Slot(tensor, draw(st.booleans()), draw(st.booleans()), draw(roles), draw(adapter_names))


@st.composite
def nodes(draw: st.DrawFn, model: Model, most_tensors: int = 2) -> Node:
    """A new module without children."""
    node = Node(
        model.serial(),
        draw(types),
        draw(st.booleans()),
        draw(roles),
        draw(adapter_names),
        draw(states),
        draw(hooks),
    )
    for name in draw(st.lists(names, max_size=most_tensors, unique=True)):
        node.tensors[name] = draw(slots(model))
    return node


@st.composite
def models(draw: st.DrawFn, *, most: int = 8) -> Model:
    """A tree with shared modules, tied tensors, views, adapters and hostile names."""
    model = Model(Node(0), scope=object())
    model.root = draw(nodes(model))
    for _ in range(draw(st.integers(0, most))):
        draw(st.sampled_from((_add, _add, _add, _share)))(draw, model)
    model.adapters = tuple(draw(st.lists(adapters, max_size=2, unique_by=lambda adapter: adapter.name)))
    model.adapter_state = draw(adapter_states)
    model.base = draw(bases)
    model.values = draw(st.sampled_from(("off", "sample", "full")))
    model.label = draw(labels)
    model.environment = {"python": "3.11", "time": draw(st.sampled_from(("2020", "2021")))}
    return model


# Edits ------------------------------------------------------------------------------------------------------------


def _insert(draw: st.DrawFn, parent: Node, name: str, child: Node) -> None:
    """Puts a child at any place among its siblings, or in place of the one of that name."""
    entries = list(parent.children.items())
    if name in parent.children:
        parent.children[name] = child
    else:
        entries.insert(draw(st.integers(0, len(entries))), (name, child))
        parent.children = dict(entries)


def _edges(model: Model) -> list[tuple[Node, str]]:
    return [(node, name) for node in model.nodes() for name in node.children]


def _add(draw: st.DrawFn, model: Model) -> None:
    parent = draw(st.sampled_from(model.nodes()))
    _insert(draw, parent, draw(names), draw(nodes(model)))


def _share(draw: st.DrawFn, model: Model) -> None:
    """A second occurrence of a module; of an ancestor too, which makes a cycle."""
    parent, child = draw(st.sampled_from(model.nodes())), draw(st.sampled_from(model.nodes()))
    _insert(draw, parent, draw(names), child)


def _remove(draw: st.DrawFn, model: Model) -> None:
    if edges := _edges(model):
        parent, name = draw(st.sampled_from(edges))
        del parent.children[name]


def _wrapper(draw: st.DrawFn, model: Model, inner: Node) -> Node:
    wrapper = Node(model.serial(), "peft.tuners.lora.layer.Linear", inner.training, Role.WRAPPER)
    container = Node(model.serial(), "torch.nn.modules.container.ModuleDict", role=Role.SHARED)
    weights = draw(nodes(model, 1))
    weights.role, weights.adapter = Role.ADAPTER, "default"
    container.children["default"] = weights
    wrapper.children = {draw(st.sampled_from(("base_layer", "original_module"))): inner, "lora_A": container}
    inner.role = Role.WRAPPED
    return wrapper


def _wrap(draw: st.DrawFn, model: Model) -> None:
    edges = _edges(model)
    chosen = draw(st.none() | st.sampled_from(edges)) if edges else None
    if chosen is None:
        model.root = _wrapper(draw, model, model.root)
    else:
        parent, name = chosen
        parent.children[name] = _wrapper(draw, model, parent.children[name])


def _unwrap(draw: st.DrawFn, model: Model) -> None:
    wrapped = [(parent, name) for parent, name in _edges(model) if parent.children[name].children]
    if wrapped:
        parent, name = draw(st.sampled_from(wrapped))
        children = parent.children[name].children
        parent.children[name] = children[draw(st.sampled_from(sorted(children)))]


def _move(draw: st.DrawFn, model: Model) -> None:
    if edges := _edges(model):
        parent, name = draw(st.sampled_from(edges))
        child = parent.children.pop(name)
        _insert(draw, draw(st.sampled_from(model.nodes())), draw(names), child)


def _reorder(draw: st.DrawFn, model: Model) -> None:
    node = draw(st.sampled_from(model.nodes()))
    node.children = dict(draw(st.permutations(list(node.children.items()))))
    node.tensors = dict(draw(st.permutations(list(node.tensors.items()))))


def _replace(draw: st.DrawFn, model: Model) -> None:
    """Another object with the same content."""
    if edges := _edges(model):
        parent, name = draw(st.sampled_from(edges))
        old = parent.children[name]
        parent.children[name] = Node(
            **{**vars(old), "serial": model.serial(), "children": dict(old.children), "tensors": dict(old.tensors)}
        )


def _replace_tensor(draw: st.DrawFn, model: Model) -> None:
    if model.slots():
        draw(st.sampled_from(model.slots())).tensor = draw(tensors(model))


def _retie(draw: st.DrawFn, model: Model) -> None:
    if found := model.slots():
        slot, other = draw(st.sampled_from(found)), draw(st.sampled_from(found))
        how = draw(st.sampled_from(("object", "storage", "alone")))
        if how == "object":
            slot.tensor = other.tensor
        else:
            slot.tensor.storage = other.tensor.storage if how == "storage" else Storage()


def _tensor_slots(draw: st.DrawFn, model: Model) -> None:
    node = draw(st.sampled_from(model.nodes()))
    name = draw(st.sampled_from((*node.tensors, "extra")))
    if name in node.tensors:
        del node.tensors[name]
    else:
        node.tensors[name] = draw(slots(model))


def _change_module(draw: st.DrawFn, model: Model) -> None:
    node = draw(st.sampled_from(model.nodes()))
    fields = {
        "type": types,
        "training": st.booleans(),
        "role": roles,
        "adapter": adapter_names,
        "state": states,
        "hooks": hooks,
    }
    name = draw(st.sampled_from(sorted(fields)))
    setattr(node, name, draw(fields[name]))


def _change_tensor(draw: st.DrawFn, model: Model) -> None:
    if found := model.slots():
        slot = draw(st.sampled_from(found))
        fields = {
            "shape": shapes,
            "dtype": st.sampled_from(tuple(ITEMSIZE)),
            "device": st.sampled_from(("cpu", "meta")),
            "requires_grad": st.booleans(),
            "version": st.integers(0, 300),
            "fingerprint": fingerprints,
        }
        of_slot = {"buffer": st.booleans(), "persistent": st.booleans(), "role": roles, "adapter": adapter_names}
        name = draw(st.sampled_from(sorted({**fields, **of_slot})))
        setattr(slot.tensor if name in fields else slot, name, draw({**fields, **of_slot}[name]))


def _change_adapters(draw: st.DrawFn, model: Model) -> None:
    model.adapters = tuple(draw(st.lists(adapters, max_size=2, unique_by=lambda adapter: adapter.name)))
    model.adapter_state = draw(adapter_states)


EDITS: tuple[Callable[[st.DrawFn, Model], None], ...] = (
    _add,
    _share,
    _remove,
    _wrap,
    _unwrap,
    _move,
    _reorder,
    _replace,
    _replace_tensor,
    _retie,
    _tensor_slots,
    _change_module,
    _change_tensor,
    _change_adapters,
)


@st.composite
def histories(draw: st.DrawFn, *, states: int = 2, most_edits: int = 4) -> list[Model]:
    """States of one model in one process, each some edits after the one before."""
    history = [draw(models(most=6))]
    while len(history) < states:
        model = history[-1].copy()
        for _ in range(draw(st.integers(0, most_edits))):
            draw(st.sampled_from(EDITS))(draw, model)
        model.label = draw(labels)
        history.append(model)
    return history


def snapshots() -> st.SearchStrategy[Snapshot]:
    """Any snapshot."""
    return models().map(Model.snapshot)
