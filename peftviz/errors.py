"""The errors that peftviz raises: each says what went wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PeftvizError(Exception):
    """Base of every error that peftviz raises on purpose.

    Args:
        what: What went wrong, in one sentence.
        where: The module path, adapter, file or argument concerned.
        hint: What the reader can do about it.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        parts = [what]
        if where:
            parts.append(f"Where: {where}")
        if hint:
            parts.append(f"What to do: {hint}")
        super().__init__("\n".join(parts))


class ModelError(PeftvizError, TypeError):
    """The object is no model that peftviz can read."""


class SnapshotError(PeftvizError, TypeError):
    """Something else was passed where a snapshot is needed."""


class AdapterError(PeftvizError, ValueError):
    """An adapter is unknown, merged, or in a state that forbids the operation."""


class LookupFailure(PeftvizError, KeyError):
    """No module, tensor or table of that name in a snapshot."""

    __str__ = Exception.__str__  # KeyError would print the repr of the message


class SnapshotFileError(PeftvizError, ValueError):
    """A snapshot file is damaged, hostile, or of a schema this version cannot read."""


class PatchError(PeftvizError, ValueError):
    """A diff does not fit the snapshot it is applied to."""


class SessionClosedError(PeftvizError, RuntimeError):
    """The session is closed: it neither records nor acts any more."""


class VerificationError(PeftvizError, RuntimeError):
    """A mutation did not lead where its plan promised; the model was rolled back."""


class MissingDependencyError(PeftvizError, ImportError):
    """An optional package or program is needed for this and is not installed."""


class AuditFailure(PeftvizError, AssertionError):
    """`assert_clean` found something; the message lists the findings."""


def near_matches(name: str, known: Iterable[str], *, limit: int = 3) -> str:
    """Says which known names are close to `name`, or lists the first few.

    Returns:
        A sentence for the hint of an error, empty when nothing is known.
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=limit, cutoff=0.6)
    if close:
        return "Did you mean " + " or ".join(repr(match) for match in close) + "?"
    if not names:
        return ""
    shown = ", ".join(repr(match) for match in names[:limit])
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"Known: {shown}{more}."
