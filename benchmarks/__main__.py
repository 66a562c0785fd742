"""`python -m benchmarks`: prints the figures of this machine as a Markdown table."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys

import peft
import torch

import peftviz
from benchmarks.suite import SIZES, Suite, imports
from benchmarks.table import HEAD, Figure, rows
from peftviz.live.snapshots import chunks


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sizes", nargs="*", metavar="SIZE", choices=[[], *SIZES], help="models to measure: M, L, XL (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="model M and few rounds: about a minute")
    parser.add_argument("--cut-off", type=float, default=60.0, help="seconds that torchinfo may take (default: 60)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    reader = "compiled" if chunks.is_compiled() else "in Python"
    print(
        f"{today}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"PEFT {peft.__version__}, peftviz {peftviz.__version__}, reader {reader}\n"
    )
    print(HEAD)
    show(imports(3 if options.quick else 7))
    for name in options.sizes or (["M"] if options.quick else SIZES):
        show(Suite(SIZES[name], quick=options.quick, cut_off=options.cut_off, say=say).run())


def show(figures: list[Figure]) -> None:
    """Prints rows as soon as they are known: the large models take minutes."""
    print(rows(figures), flush=True)


def say(text: str) -> None:
    """Progress goes where it does not mix with the table."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
