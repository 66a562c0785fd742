"""Whether this runs in a notebook, and where: asked of IPython only when it is loaded already."""

from __future__ import annotations

import sys
from typing import Any


def kernel_shell() -> Any | None:
    """The IPython shell of a notebook's kernel, or None in a script, a terminal or a plain interpreter."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return None
    shell = ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


def current_cell() -> int | None:
    """Number of the cell that runs now, or None outside a notebook."""
    shell = kernel_shell()
    return None if shell is None else int(shell.execution_count)


def show(value: object) -> None:
    """Displays a value in the running cell."""
    from IPython.display import display  # type: ignore[attr-defined, unused-ignore]

    display(value)
