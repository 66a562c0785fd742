"""The public face: exactly these names, each loaded when used, each with a docstring and annotations."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import peftviz

FUNCTIONS = {
    "assert_clean": ["model_or_snapshot", "baseline", "optimizer"],
    "audit": ["model_or_snapshot", "baseline", "optimizer"],
    "capture": ["model", "label", "values"],
    "delete_adapter": ["model", "adapter", "baseline", "unwrap"],
    "diff": ["before", "after"],
    "load": ["path"],
    "patch": ["snapshot", "diff"],
    "plan_deletion": ["model", "adapter"],
    "repair": ["model", "baseline"],
    "set_language": ["language"],
    "unload": ["model", "merge", "baseline"],
    "watch": ["model"],
}

CLASSES = {
    "Audit": ["clean", "to_frame", "to_html", "to_markdown", "to_text"],
    "Change": ["after", "before", "field", "kind", "old_path", "path"],
    "DeletionPlan": ["actions", "to_text"],
    "DeletionReport": ["audit", "diff", "freed", "model"],
    "Diff": ["graph", "renames", "reverse", "to_frame", "to_html", "to_markdown", "to_text"],
    "Finding": ["adapter", "evidence", "message", "path", "remedy", "repairable", "rule", "severity"],
    "Inspector": ["baseline", "compare", "refresh", "select", "selection", "show"],
    "OperationPlan": ["actions", "adapters", "operation", "to_text", "warnings"],
    "OperationReport": ["audit", "diff", "model", "plan"],
    "PeftvizError": [],
    "RepairReport": ["audit", "diff", "freed", "model"],
    "Session": ["baseline", "close", "delete_adapter", "merge_adapter", "model", "repair", "set_adapter", "unload"],
    "Snapshot": ["adapters", "find", "module", "save", "tensor", "to_frame", "to_html", "to_text", "totals"],
    "Timeline": ["diff", "load", "save", "snapshots", "steps", "totals"],
    "UnloadReport": ["adapters", "audit", "diff", "freed", "merged", "model"],
    "Step": ["after", "arguments", "before", "diff", "duration", "error", "label", "operation", "warnings"],
}


def test_the_public_names_are_exactly_these() -> None:
    assert set(peftviz.__all__) == {*FUNCTIONS, *CLASSES}
    assert set(peftviz.__all__) <= set(dir(peftviz))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'peftviz' has no attribute 'wach'"):
        _ = peftviz.wach


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_the_promised_arguments(name: str) -> None:
    parameters = inspect.signature(getattr(peftviz, name)).parameters
    promised = FUNCTIONS[name]
    assert [parameter for parameter in parameters if parameter in promised] == promised
    extra = [parameter for key, parameter in parameters.items() if key not in promised]
    assert all(parameter.default is not parameter.empty for parameter in extra)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_the_promised_attributes(name: str) -> None:
    cls = getattr(peftviz, name)
    known = set(dir(cls))
    for base in cls.__mro__:  # attributes of instances: the fields of a dataclass, or what the docstring names
        known |= {*inspect.get_annotations(base)}
        section = (base.__doc__ or "").partition("Attributes:")[2]
        known |= {line.strip().partition(":")[0] for line in section.splitlines() if ":" in line}
    assert set(CLASSES[name]) <= known


@pytest.mark.parametrize("name", peftviz.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    assert len(inspect.getdoc(getattr(peftviz, name)) or "") > 40


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(peftviz.__file__).parent / "py.typed").exists()


def test_the_reference_lists_the_errors_and_what_else_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE))
    children = {error.__name__: error.__bases__[1].__name__ for error in peftviz.PeftvizError.__subclasses__()}
    assert listed == children
