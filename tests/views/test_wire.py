"""The bytes that go to the browser: read back here by the rules of `docs/formats/view-table.md`."""

from __future__ import annotations

import gzip
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.views.escaping import visible
from peftviz.views.formatting import format_bytes, format_count, format_delta
from peftviz.views.inspector.wire import encode
from peftviz.views.viewmodel.table import ViewTable, view_table
from tests.views.story import adapted, plain

DTYPES = {"u1": "<u1", "u2": "<u2", "u4": "<u4", "f8": "<f8"}


def read(packed: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    raw = gzip.decompress(packed)
    magic, size = struct.unpack_from("<4sI", raw)
    assert magic == b"PVT1"
    header = json.loads(raw[8 : 8 + size])
    start = 8 + size
    assert start % 8 == 0
    sent = {}
    for name, dtype, offset, length in header["columns"]:
        assert offset % 8 == 0
        sent[name] = np.frombuffer(raw, DTYPES[dtype], length, start + offset)

    def whole(name: str, length: int) -> np.ndarray[Any, Any]:
        column = sent[name]
        assert len(column) in (1, length), name
        return np.full(length, column[0]) if len(column) == 1 else column

    rows = {name: whole(name, header["rows"]) for name in ("pattern", "was")}
    assert (rows["pattern"] < header["patterns"]).all()
    columns = dict(rows)
    for first, second in (("run_first", "run_length"), ("change_row", "change_kind"), ("detail_row", "detail_payload")):
        columns[first], columns[second] = sent[first], whole(second, len(sent[first]))
    for name in sent.keys() - columns.keys():
        columns[name] = whole(name, header["patterns"])[rows["pattern"]]
    return header, columns


@pytest.fixture
def table() -> ViewTable:
    before = plain()
    after = adapted(before, "default", "math")
    first, second = before.snapshot(), after.snapshot()
    return view_table(diff(first, second), audit=audit_snapshot(second))


def test_every_column_comes_back(table: ViewTable) -> None:
    header, columns = read(encode(table))
    assert header["rows"] == len(table)
    assert tuple(header["strings"]) == table.strings
    for name in ("depth", "kind", "label", "was", "status", "note", "role", "adapter"):
        np.testing.assert_array_equal(columns[name], getattr(table, name), err_msg=name)
    for name in ("type", "shape", "dtype", "device", "trainable", "bytes", "numel"):
        for when in ("before", "after"):
            np.testing.assert_array_equal(columns[f"{name}_{when}"], getattr(table, f"{name}_{when}"), err_msg=name)
    np.testing.assert_array_equal(columns["exists"] & 1 != 0, table.before_row >= 0)
    np.testing.assert_array_equal(columns["exists"] & 2 != 0, table.after_row >= 0)
    assert header["summary"]["bytes"] == [columns["bytes_before"][0], columns["bytes_after"][0]]


def test_runs_are_those_of_the_other_renderers(table: ViewTable) -> None:
    _, columns = read(encode(table))
    runs = table.runs
    assert runs
    assert dict(zip(columns["run_first"].tolist(), columns["run_length"].tolist(), strict=True)) == {
        first: len(run) for first, run in runs.items()
    }


def test_changes_and_details_come_back(table: ViewTable) -> None:
    header, columns = read(encode(table))
    assert len(table.changes) > len(header["changes"]) > 0, "some rows changed alike"
    kinds = zip(columns["change_row"].tolist(), columns["change_kind"].tolist(), strict=True)
    assert [[row, *header["changes"][kind]] for row, kind in kinds] == json.loads(json.dumps(table.changes))
    assert columns["detail_row"].tolist() == table.details["rows"]
    assert columns["detail_payload"].tolist() == table.details["payload"]
    assert header["details"]["payloads"] == table.details["payloads"]


def test_changes_that_are_equal_but_not_the_same_objects_give_the_same_bytes(table: ViewTable) -> None:
    copied = replace(table, changes=json.loads(json.dumps(table.changes)))
    assert encode(copied) == encode(table)


def test_findings_carry_the_title_of_their_rule_and_where_it_is_reported(table: ViewTable) -> None:
    finding = {"rule": "PV103", "message": "", "remedy": "", "row": 0}
    header, _ = read(encode(replace(table, findings=[finding, {"rule": "PV999"}])))
    told, unknown = header["findings"]
    assert told["title"] == "Ghost adapter"
    assert ["peft#798", "https://github.com/huggingface/peft/issues/798"] in told["upstream"]
    assert unknown == {"rule": "PV999"}


def test_same_table_same_bytes(table: ViewTable) -> None:
    assert encode(table) == encode(table)


def test_columns_of_more_than_four_bytes_keep_every_digit(table: ViewTable) -> None:
    large = np.array(table.bytes_after) + 2.0**40
    _, columns = read(encode(replace(table, bytes_after=large)))
    np.testing.assert_array_equal(columns["bytes_after"], large)


def test_hostile_names_and_odd_numbers_survive(table: ViewTable) -> None:
    strings = (*table.strings[:-1], "\ud800</script>\u202e")
    odd = replace(table, strings=strings, changes=[[0, "scale", float("inf"), float("nan")]])
    header, _ = read(encode(odd))
    assert header["strings"][-1] == "\ud800</script>\u202e"
    assert header["changes"] == [["scale", "inf", "nan"]]


def test_numbers_and_names_read_alike_in_both_languages() -> None:
    cases = json.loads((Path(__file__).parent / "format_cases.json").read_text(encoding="utf-8"))
    assert [format_bytes(value) for value, _ in cases["bytes"]] == [text for _, text in cases["bytes"]]
    assert [format_count(value) for value, _ in cases["count"]] == [text for _, text in cases["count"]]
    assert [format_delta(old, new) for old, new, _ in cases["delta"]] == [text for _, _, text in cases["delta"]]
    assert [visible(name) for name, _ in cases["visible"]] == [text for _, text in cases["visible"]]
    assert [len(visible("x" * length)) for length, _ in cases["long"]] == [most for _, most in cases["long"]]
