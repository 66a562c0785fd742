"""Snapshot files: damage, malice, newer schemas, sizes, atomic writing."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftviz.core import container
from peftviz.core.codec import Coding, decode_columns, encode_columns
from peftviz.core.rows import Adapter, BaseModel
from peftviz.core.serialize import load, load_many, save, save_many
from peftviz.core.tables import ModuleTable
from peftviz.core.wellformed import problem
from peftviz.errors import SnapshotFileError
from tests.core.stand_in import Model, Node, Slot, Storage, Tensor
from tests.core.strategies import models


def small() -> Model:
    """Two shared layers, a tie, a view, an adapter, hostile names."""
    model = Model(Node(0, "my.Model"), scope=object())
    layer = Node(1, "peft.tuners.lora.layer.Linear", state={"r": {"default": 4}}, hooks=["forward:a.b"])
    weight = Tensor(2, (4, 3), fingerprint=2**63)
    layer.tensors = {"weight": Slot(weight), "mask": Slot(Tensor(3, (2,), storage=weight.storage), buffer=True)}
    model.root.children = {"<b>": layer, "again": layer, "head": Node(4)}
    model.root.children["head"].tensors["weight"] = Slot(weight)
    model.root.children["head"].tensors["rows"] = Slot(Tensor(5, (3,), storage=Storage(4096)))
    model.adapters = (Adapter("default", "LORA", {"r": 4, "alpha": 0.5}),)
    model.environment = {"python": "3.11", "time": "2026-01-01"}
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def content(folder: Path) -> bytes:
    return save(small().snapshot(), folder / "content").read_bytes()


def reads(folder: Path, data: bytes) -> bool:
    """Whether a file is read; if so the snapshot must be well formed, if not the error must have three parts."""
    path = folder / "given"
    path.write_bytes(data)
    try:
        snapshots, _ = load_many(path)
    except SnapshotFileError as error:
        complete = error.what.endswith(".") and error.where.startswith(str(path)) and error.hint
        if not complete:
            raise AssertionError("an error without three parts") from error
        return False
    for snapshot in snapshots:
        assert problem(snapshot) is None
        assert snapshot == snapshot
        snapshot.find("*")
        repr(snapshot)
        for row in range(len(snapshot.modules)):
            snapshot.module_row(row)
    return True


def resealed(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The file with a changed header and a checksum that fits."""
    header, packed = container.unpack(data, "")
    change(header)
    return container.pack(header, zlib.decompress(packed))


# Reading ----------------------------------------------------------------------------------------------------------


def test_a_file_holds_what_was_saved(folder: Path) -> None:
    snapshot = small().snapshot()
    loaded = load(save(snapshot, folder / "a"))
    assert snapshot == loaded
    assert (loaded.module("again").name, loaded.module("again").alias_of) == ("again", "<b>")
    assert loaded.tensor("<b>.weight").shared_with == ("<b>.mask", "head.weight")
    assert dict(loaded.module("<b>").state) == {"r": {"default": 4}}
    assert snapshot.totals == loaded.totals
    for table in (loaded.modules, loaded.tensors):
        assert not any(column.flags.writeable for column in vars(table).values())


def test_the_time_is_written_only_when_asked_for(folder: Path) -> None:
    snapshot = small().snapshot()
    assert dict(load(save(snapshot, folder / "a")).environment) == {"python": "3.11"}
    assert snapshot.environment == load(save(snapshot, folder / "b", time=True)).environment


def test_reading_imports_neither_torch_nor_peft(folder: Path) -> None:
    path = save(small().snapshot(), folder / "a")
    code = "import peftviz, sys; peftviz.load(sys.argv[1]); print([m for m in ('torch', 'peft') if m in sys.modules])"
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=root, check=True)
    assert ran.stdout == "[]\n"


def test_a_timeline_is_not_taken_for_a_snapshot(folder: Path) -> None:
    path = save_many([small().snapshot()], folder / "many", {"a": 1})
    with pytest.raises(SnapshotFileError, match="timeline of 1 states"):
        load(path)
    states, meta = load_many(path)
    assert (len(states), meta) == (1, {"a": 1})
    empty = save_many([], folder / "none")
    assert load_many(empty) == ([], {})


# Damage and malice ------------------------------------------------------------------------------------------------


@given(data=st.data())
def test_no_damage_goes_unnoticed(folder: Path, data: st.DataObject) -> None:
    good = content(folder)
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(bad)))
        stop = start + data.draw(st.integers(0, 4))
        bad[start:stop] = data.draw(st.binary(max_size=4))
    assert (bytes(bad) == good) == reads(folder, bytes(bad))


@given(length=st.integers(0, 2000))
def test_no_cut_goes_unnoticed(folder: Path, length: int) -> None:
    good = content(folder)
    assert (length >= len(good)) == reads(folder, good[:length])


@given(data=st.binary(max_size=300))
def test_rubbish_is_refused(folder: Path, data: bytes) -> None:
    assert not reads(folder, data)
    assert not reads(folder, container.MAGIC + b"\1\0\0\0" + data)


@given(model=models(), data=st.data())
def test_hostile_columns_are_refused_or_well_formed(folder: Path, model: Model, data: st.DataObject) -> None:
    header, packed = container.unpack(save(model.snapshot(), folder / "content").read_bytes(), "")
    block = bytearray(zlib.decompress(packed))
    for _ in range(data.draw(st.integers(1, 4))):
        if block:
            block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 3) | st.integers(0, 255))
    reads(folder, container.pack(header, bytes(block)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(model=models(most=4), data=st.data())
def test_hostile_headers_are_refused_or_well_formed(folder: Path, model: Model, data: st.DataObject) -> None:
    header, packed = container.unpack(save(model.snapshot(), folder / "content").read_bytes(), "")
    node: Any = header
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        child = node[key]
        if not child or not isinstance(child, (dict, list)) or data.draw(st.integers(0, 3)) == 0:
            break
        node = child
    how = data.draw(st.sampled_from(("value", "nearby", "gone")))
    if how == "gone":
        del node[key]
    elif how == "nearby" and type(child) is int:
        node[key] = child + data.draw(st.integers(-2, 2))
    else:
        node[key] = data.draw(JSON)
    reads(folder, container.pack(header, zlib.decompress(packed)))


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.update(extra=1),
        lambda header: header["snapshots"][0].update(extra=1),
        lambda header: header["snapshots"][0]["rows"].__setitem__(0, 2**23),
        lambda header: header["snapshots"][0]["rows"].__setitem__(0, 10**30),
        lambda header: header["snapshots"][0]["widths"].__setitem__(0, 3),
        lambda header: header["snapshots"][0]["widths"].__setitem__(0, True),
        lambda header: header["snapshots"].append(header["snapshots"][0]),
        lambda header: header["snapshots"].clear(),
        lambda header: header["names"].clear(),
        lambda header: header["names"].append(None),
        lambda header: header["states"].__setitem__(0, "{}"),
        lambda header: header["states"].__setitem__(1, "[" * 100_000),
        lambda header: header["states"].__setitem__(1, "[]"),
        lambda header: header["hook_lists"].__setitem__(1, "{}"),
        lambda header: header["hook_lists"].__setitem__(1, "[1]"),
        lambda header: header["specs"][0].update(sizes=[2**61, 2**61]),
        lambda header: header["specs"][0].update(sizes=[-1, 0]),
        lambda header: header.update(kind="other"),
        lambda header: header.update(meta={"a": 1}),
        lambda header: header["snapshots"][0].update(values="guess"),
        lambda header: header["snapshots"][0].update(values="off"),
    ],
)
def test_a_header_that_lies_is_refused(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    assert not reads(folder, resealed(content(folder), change))


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "[" * 70 + "]" * 70, '{"a": ' + "9" * 5000 + "}", "nul", "\xff", "[1]"]
)
def test_a_header_that_is_no_bearable_json_is_refused(folder: Path, text: str) -> None:
    head = zlib.compress(text.encode("latin-1"))
    rest = len(text).to_bytes(4, "little") + len(head).to_bytes(4, "little") + bytes(4) + head
    data = container.MAGIC + b"\1\0\0\0" + zlib.crc32(rest).to_bytes(4, "little") + rest
    assert not reads(folder, data)


def test_a_bomb_is_not_unpacked(folder: Path) -> None:
    header, _ = container.unpack(content(folder), "")
    assert not reads(folder, container.pack(header, bytes(2**26)))
    with pytest.raises(SnapshotFileError, match="another size"):
        container.inflate(zlib.compress(bytes(2**26)), 10, "")


def test_a_newer_schema_says_so(folder: Path) -> None:
    data = bytearray(content(folder))
    data[8] = container.SCHEMA + 1
    (folder / "newer").write_bytes(bytes(data[:12]))
    with pytest.raises(SnapshotFileError) as caught:
        load(folder / "newer")
    assert "schema 3; this version of peftviz reads up to 2" in caught.value.what
    assert "Update peftviz" in caught.value.hint


def test_the_first_schema_which_knew_nothing_of_the_base_is_read(folder: Path) -> None:
    data = bytearray(resealed(content(folder), lambda header: header["snapshots"][0].pop("base")))
    data[8] = 1
    (folder / "first").write_bytes(bytes(data))
    assert load(folder / "first").base == BaseModel()


def test_changed_line_ends_are_named(folder: Path) -> None:
    (folder / "text").write_bytes(content(folder).replace(b"\r\n", b"\n"))
    with pytest.raises(SnapshotFileError, match="line ends"):
        load(folder / "text")


def test_what_is_no_file_is_refused(folder: Path) -> None:
    with pytest.raises(SnapshotFileError, match="no snapshot file"):
        load(folder)
    with pytest.raises(FileNotFoundError):
        load(folder / "nothing")


# Writing ----------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(small().snapshot(), folder / "kept")
    before, names = path.read_bytes(), sorted(os.listdir(folder))

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save(Model(Node(0)).snapshot(), path)
    assert (before, names) == (path.read_bytes(), sorted(os.listdir(folder)))


def test_what_could_not_be_read_is_not_written(folder: Path) -> None:
    nested = Model(Node(0, children={"inner": Node(1)})).snapshot()
    columns = {name: column.repeat(501) for name, column in vars(nested.modules).items()}
    columns |= {"parent": np.arange(-1, 1001), "identity": np.arange(1002)}
    nested.modules = ModuleTable(**columns)
    with pytest.raises(SnapshotFileError, match=r"1,000 levels deep"):
        save(nested, folder / "deep")
    with pytest.raises(SnapshotFileError, match="metadata is no JSON"):
        save_many([small().snapshot()], folder / "deep", {"a": object()})
    assert not (folder / "deep").exists()


def test_snapshots_of_two_processes_do_not_share_a_file(folder: Path) -> None:
    with pytest.raises(SnapshotFileError, match="different scopes"):
        save_many([small().snapshot(), small().snapshot()], folder / "many")


def test_a_large_regular_model_takes_well_under_two_bytes_a_node(folder: Path) -> None:
    model = Model(Node(0, "my.Model"))
    for layer in range(40):
        block = model.root.children[f"{layer}"] = Node(model.serial(), "my.Layer")
        for expert in range(32):
            wrapper = block.children[f"{expert}"] = Node(
                model.serial(), "peft.tuners.lora.layer.Linear", state={"r": 8}
            )
            for part in ("base_layer", "lora_A", "lora_B"):
                inner = wrapper.children[part] = Node(model.serial(), "torch.nn.modules.linear.Linear")
                inner.tensors["weight"] = Slot(Tensor(model.serial(), (64, 8), device="meta"))
    snapshot = model.snapshot()
    nodes = len(snapshot.modules) + len(snapshot.tensors)
    assert nodes == 1 + 40 * (1 + 32 * (1 + 3 + 3))
    assert save(snapshot, folder / "large").stat().st_size <= 2 * nodes


# Columns ----------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 2**61 - 1) | st.integers(0, 300)), st.sampled_from((Coding.PLAIN, Coding.DELTA))
        )
    )
)
def test_columns_round_trip(columns: list[tuple[list[int], Coding]]) -> None:
    arrays = [(np.array(values, np.int64), coding) for values, coding in columns]
    widths, block = encode_columns(arrays)
    layout = [(str(n), coding, len(values), widths[n]) for n, (values, coding) in enumerate(columns)]
    decoded = [values.tolist() for _, values in decode_columns(memoryview(block), layout, "")]
    assert [values for values, _ in columns] == decoded
    assert len(block) == sum(len(values) * width for (values, _), width in zip(columns, widths, strict=True))


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder to write into") as caught:
        save(small().snapshot(), folder / "nowhere" / "model.peftviz")
    assert caught.value.filename == str(folder / "nowhere")
