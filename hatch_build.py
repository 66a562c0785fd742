"""Compiles the reader of module chunks where there is a compiler; without one the wheel is pure Python."""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

MODULE = "peftviz.live.snapshots._chunks"
SOURCE = "peftviz/live/snapshots/_chunks.c"
CHOICES = ("auto", "always", "never")


class CompiledReader(BuildHookInterface[Any]):
    """The build hook.

    The environment variable `PEFTVIZ_COMPILE` says when to compile: `auto` (where it can be, the default), `always` (or
    the build fails; for releases and for the tests) or `never`.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles beside the source, where an editable installation finds it too."""
        choice = os.environ.get("PEFTVIZ_COMPILE", "auto")
        if choice not in CHOICES:
            raise ValueError(f"PEFTVIZ_COMPILE must be one of {', '.join(CHOICES)}, not {choice!r}")
        root = Path(self.root)
        for stale in (root / SOURCE).parent.glob("_chunks.*"):
            if stale.suffix in {".so", ".pyd"}:
                stale.unlink()  # it may be of another source
        if choice == "never":
            return
        try:
            built = self._compile()
        except (BaseError, CCompilerError, OSError) as error:
            if choice == "always":
                raise
            self.app.display_warning(
                f"The reader of captures is not compiled; the slower one in Python will do: {error}"
            )
            return
        build_data["artifacts"].append(built.relative_to(root).as_posix())
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp310-abi3-{platform}"

    def _compile(self) -> Path:
        if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
            raise CCompilerError("this Python has no stable interface for compiled modules")
        # Debug information would hold the folder in which it was built: the same source gives the same bytes.
        flags = [] if os.name == "nt" else ["-std=c99", "-g0"]
        extension = Extension(MODULE, [SOURCE], py_limited_api=True, extra_compile_args=flags)
        command = build_ext(Distribution({"name": "peftviz", "packages": ["peftviz"], "ext_modules": [extension]}))
        command.inplace = True
        here = Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            command.build_temp = command.build_lib = folder
            os.chdir(self.root)
            try:
                command.ensure_finalized()
                command.run()
            finally:
                os.chdir(here)
        return Path(self.root, command.get_ext_filename(MODULE))
