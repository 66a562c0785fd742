"""Writes `docs/residue-matrix.md`: what each release of PEFT leaves behind, and what peftviz leaves.

Run it when PEFT has a new release, and read what changed:

    python tools/residue_matrix.py

Each release runs in processes of its own; `tools/install_upstream.py` puts the older ones there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.upstream.releases import INSTALLED, OLDER, ask  # noqa: E402 (the tests are no installed package)

PAGE = ROOT / "docs" / "residue-matrix.md"

HEAD = """# What PEFT leaves behind, by release

Measured by `python tools/residue_matrix.py`, which is run for each new release of PEFT and takes two minutes of one
core. Tests compare the kinds with each release and the methods with the installed one. The models are those of the
tests: a tiny Llama, adapters with weights that matter.

## Kinds

Each kind is tried on real PEFT and judged by what the model does, not by peftviz. “yes”: PEFT behaves so; “no”: it does
not; “–”: it has nothing of the kind. Then the rules that found it, and “mended” where peftviz repairs it or does the
same thing right.
"""

METHODS = """
## Deletion, by method

In each cell first what PEFT's own `delete_adapter` leaves: the number of facts (modules, classes, tensors and their
values, attributes, hooks) in which the model differs, after one of two adapters went, from a model that never had it;
and, after the last one went, in which the base differs from the base it was (`requires_grad`, which needs a baseline,
left out). Where PEFT's deletion raises, the exception stands for the number. After the arrow the same for
`peftviz.delete_adapter`, then the rules that the audit finds after PEFT's deletions.

0 after PEFT's deletion says that the modules are as they were; the handle may name a dead adapter all the same.
"""


def table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def kind_cell(seen: Mapping[str, Any] | None) -> str:
    """What was seen of one kind on one release."""
    if seen is None:
        return "–"
    if not seen["behaves"]:
        return "no"
    return " ".join(["yes", *seen["found"], *(["mended"] if seen["mended"] else [])])


def method_cell(measured: Mapping[str, Any] | None) -> str:
    """What was measured of one method on one release."""
    if measured is None:
        return "–"
    theirs, ours = (" / ".join(map(str, measured[who])) for who in ("peft", "peftviz"))
    return " ".join([f"{theirs} → {ours}", *measured["rules"]])


def report_cell(issue: str) -> str:
    """Where a kind is reported, as a link."""
    repository, mark, number = issue.partition("#")
    return f"[{issue}](https://github.com/huggingface/{repository}/issues/{number})" if mark else issue


def page(kinds: Mapping[str, Mapping[str, Any]], methods: Mapping[str, Mapping[str, Any]]) -> str:
    """The page.

    Args:
        kinds: The answer of `tests.upstream.residue.kinds` by release.
        methods: The answer of `tests.upstream.residue.methods` by release.
    """
    from tests.upstream.residue.kinds import THEMES

    releases = list(kinds)
    tables = []
    for theme, entries in THEMES.items():
        shown = (
            [entry.title, report_cell(entry.issue), *(kind_cell(kinds[release]["kinds"][name]) for release in releases)]
            for name, entry in entries.items()
        )
        tables.append(f"\n### {theme}\n\n" + table(["kind", "reported", *releases], shown))
    names = sorted({name for answer in methods.values() for name in answer["methods"]})
    measured = ([name, *(method_cell(methods[release]["methods"].get(name)) for release in releases)] for name in names)
    return HEAD + "".join(tables) + METHODS + "\n" + table(["method and mode", *releases], measured)


def main() -> None:
    """Measures every release and writes the page."""
    releases = (*OLDER, INSTALLED)
    kinds, methods = {}, {}
    for release in releases:
        print(f"PEFT {release}", file=sys.stderr)
        kinds[release] = ask(release, "tests.upstream.residue.kinds")
        methods[release] = ask(release, "tests.upstream.residue.methods")
    PAGE.write_text(page(kinds, methods), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
