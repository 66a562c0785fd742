"""All kinds of residue that PEFT is known to leave, each tried on the PEFT that is installed.

Run as a program it prints one line of JSON: for each kind whether PEFT behaves so (judged by behaviour, never by
peftviz), which rules found it, and whether peftviz mended it. `null` means that this PEFT does not have what the kind
needs.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from typing import Any

import peft
import torch

from tests.upstream.residue import drift, operations, results
from tests.upstream.residue.kind import kinds_of

THEMES = {
    "Silently wrong results, lost weights": kinds_of(results),
    "Operations that break": kinds_of(operations),
    "Drift and leaks": kinds_of(drift),
}
KINDS = {name: entry for kinds in THEMES.values() for name, entry in kinds.items()}


def main() -> None:
    """Tries every kind and prints what was seen."""
    warnings.simplefilter("ignore")
    seen: dict[str, Any] = {}
    for name, entry in KINDS.items():
        torch.manual_seed(0)
        shown = entry.show()
        seen[name] = None if shown is None else asdict(shown)
    print(json.dumps({"peft": peft.__version__, "kinds": seen}))


if __name__ == "__main__":
    main()
