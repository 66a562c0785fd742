"""The command `peftviz`: shows, compares and judges saved snapshots and sessions. Needs neither torch nor peft."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from peftviz.auditing import audit
from peftviz.core.diff import diff
from peftviz.core.display import Displayed
from peftviz.core.serialize import load
from peftviz.core.snapshot import Snapshot
from peftviz.core.timeline import Timeline
from peftviz.errors import PeftvizError, SnapshotFileError

SAME, DIFFERENT, TROUBLE = 0, 1, 2
"""Exit codes, as those of `diff`: nothing to report, something found, could not look."""

WIDTH = 100
"""Columns of the text, unless asked for others. Given and not measured, so that the same file gives the same text."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: What stands behind the name of the command; None takes those of the process.

    Returns:
        The exit code: 0 when there is nothing to report, 1 when `diff` found changes or `audit` found faults, 2 when a
        file could not be read or written.
    """
    given = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without the symbols shows the rest
        sys.stdout.reconfigure(errors="replace")
    try:
        shown, code = given.look(given)
        if given.html:
            shown.to_html(given.html)
            text = f"{given.html}\n"
        else:
            text = shown.to_markdown() if given.markdown else shown.to_text(width=given.width)
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, as in `peftviz show file | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SAME
    except (PeftvizError, OSError) as error:
        sys.stderr.write(f"peftviz: {error}\n")
        return TROUBLE
    return int(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="peftviz",
        description="Looks at files of Snapshot.save and Timeline.save.",
        epilog="Exit codes: 0 nothing to report, 1 changes or faults found, 2 a file could not be read or written.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    show = _command(commands, "show", _show, "what a snapshot or a session holds")
    show.add_argument("file", metavar="FILE", help="a snapshot or a session")
    compare = _command(commands, "diff", _diff, "what changed from one snapshot to another")
    compare.add_argument("before", metavar="BEFORE", help="the earlier snapshot")
    compare.add_argument("after", metavar="AFTER", help="the later snapshot")
    judge = _command(commands, "audit", _audit, "what is wrong with a snapshot, or with the last state of a session")
    judge.add_argument("file", metavar="FILE", help="a snapshot or a session")
    judge.add_argument("--baseline", metavar="FILE", help="an earlier snapshot of the same model to judge against")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    look: Callable[[argparse.Namespace], tuple[Displayed, int]],
    what: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=what, description=f"Shows {what}.")
    command.set_defaults(look=look)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--width", type=_width, default=WIDTH, metavar="N", help=f"columns of the text ({WIDTH})")
    form.add_argument("--markdown", action="store_true", help="Markdown for an issue or a pull request")
    form.add_argument("--html", metavar="PATH", help="write a page that stands alone, and print its path")
    return command


def _width(text: str) -> int:
    try:
        width = int(text)
    except ValueError:
        width = 0
    if width < 1:
        raise argparse.ArgumentTypeError(f"a number of columns is needed, not {text!r}")
    return width


def _show(given: argparse.Namespace) -> tuple[Displayed, int]:
    return _read(given.file), SAME


def _diff(given: argparse.Namespace) -> tuple[Displayed, int]:
    changes = diff(load(given.before), load(given.after))
    return changes, DIFFERENT if changes else SAME


def _audit(given: argparse.Namespace) -> tuple[Displayed, int]:
    found = audit(_read(given.file), baseline=load(given.baseline) if given.baseline else None)
    return found, SAME if found.clean else DIFFERENT


def _read(path: str) -> Snapshot | Timeline:
    try:
        return load(path)
    except SnapshotFileError:  # if it is no session either, the complaint is the same
        return Timeline.load(path)
