"""Which room may import which: read from the source, so that an import inside a function counts too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import peftviz

PACKAGE = Path(peftviz.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}

NOTEBOOK = {"IPython", "anywidget", "graphviz", "ipywidgets", "pandas", "traitlets"}
MODELS = {"diffusers", "peft", "torch", "transformers"}

FORBIDDEN = {
    "core": {*MODELS, *NOTEBOOK, "peftviz.live", "peftviz.views"},
    "views": {*MODELS, "peftviz.live"},
    "live": {"anywidget", "graphviz", "ipywidgets", "pandas", "traitlets"},
}

# Within a room, from the ground up: a folder imports what is below it.
FLOORS = {
    "live": ["snapshots", "removal", "activation", "sessions"],
    "views": ["viewmodel", "renderers", "inspector"],
}

EXCEPTIONS = {
    "core/display.py": {"peftviz.views"},  # the one hook by which objects show themselves
}


def imports(source: str) -> Iterator[str]:
    """Every module that a source text imports when it runs; imports for the type checker alone do not count."""

    class Visitor(ast.NodeVisitor):
        def __init__(self) -> None:
            self.found: list[str] = []

        def visit_If(self, node: ast.If) -> None:
            if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                for statement in node.orelse:
                    self.visit(statement)
            else:
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:
            self.found.extend(alias.name for alias in node.names)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            module = node.module or ""
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            self.found.append(module)
            self.found.extend(f"{module}.{alias.name}" for alias in node.names)

        def visit_Call(self, node: ast.Call) -> None:
            name = ast.unparse(node.func)
            if name.endswith("import_module") and node.args and isinstance(node.args[0], ast.Constant):
                self.found.append(str(node.args[0].value))
            self.generic_visit(node)

    visitor = Visitor()
    visitor.visit(ast.parse(source))
    yield from visitor.found


def violations(room: str, name: str, source: str) -> list[str]:
    allowed = EXCEPTIONS.get(name, set())
    return [
        module
        for module in imports(source)
        for forbidden in FORBIDDEN[room] - allowed
        if module == forbidden or module.startswith(f"{forbidden}.")
        if not any(module == one or module.startswith(f"{one}.") for one in allowed)
    ]


@pytest.mark.parametrize("name", [name for name in FILES if name.split("/")[0] in FORBIDDEN])
def test_a_room_imports_only_what_it_may(name: str) -> None:
    room = name.split("/")[0]
    found = violations(room, name, FILES[name].read_text(encoding="utf-8"))
    if room == "views":  # renderers import the packages they render with; models stay outside
        found = [module for module in found if module.split(".")[0] not in NOTEBOOK]
    assert found == []


@pytest.mark.parametrize("name", [name for name in FILES if name.split("/")[0] in FLOORS and name.count("/") == 2])
def test_a_folder_imports_what_is_below_it(name: str) -> None:
    room, folder, _ = name.split("/")
    above = FLOORS[room][FLOORS[room].index(folder) + 1 :]
    found = set(imports(FILES[name].read_text(encoding="utf-8")))
    assert not [module for module in found for floor in above if module.startswith(f"peftviz.{room}.{floor}")]


@pytest.mark.parametrize("name", [name for name in FILES if name != "live/peft_facts.py"])
def test_peft_is_imported_in_one_file_only(name: str) -> None:
    found = [module for module in imports(FILES[name].read_text(encoding="utf-8")) if module.split(".")[0] == "peft"]
    assert found == []


@pytest.mark.parametrize("name", FILES)
def test_no_file_outgrows_its_reader(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= 420


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("core", "import torch"),
        ("core", "def f():\n    from peftviz.live.snapshots.capture import capture"),
        ("core", "from peftviz import views"),
        ("core", "if TYPE_CHECKING:\n    pass\nelse:\n    import pandas"),
        ("core", "import importlib\nimportlib.import_module('peft.tuners')"),
        ("views", "import peftviz.live.sessions.session"),
        ("views", "import transformers.integrations"),
        ("live", "import ipywidgets"),
    ],
)
def test_the_reading_sees_a_forbidden_import(room: str, source: str) -> None:
    assert violations(room, f"{room}/made_up.py", source)


def test_the_reading_passes_over_imports_for_the_type_checker() -> None:
    assert violations("core", "core/made_up.py", "if TYPE_CHECKING:\n    import torch\n    import pandas") == []


def test_the_exception_is_for_one_file() -> None:
    source = "from peftviz.views.mime import mimebundle"
    assert violations("core", "core/display.py", source) == []
    assert violations("core", "core/diff.py", source) != []
