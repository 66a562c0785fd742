"""Reads the committed page of the matrix, `docs/residue-matrix.md`."""

from __future__ import annotations

from tools.residue_matrix import PAGE


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def column(release: str) -> dict[str, str]:
    """The cells of one release in all tables of the page, by the first cell of their row.

    Raises:
        AssertionError: The page has no such release.
    """
    found: dict[str, str] = {}
    at = -1
    for line in text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells or set(cells) == {"---"}:
            continue
        if release in cells:
            at = cells.index(release)
        elif at >= 0:
            found[cells[0]] = cells[at]
    assert found, f"the page has no PEFT {release}: run tools/residue_matrix.py"
    return found
