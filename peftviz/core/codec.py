"""Integer columns as bytes: narrow, delta-coded, split into byte planes so that zlib sees their period."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from peftviz.core.tables import IntArray
from peftviz.errors import SnapshotFileError

LARGEST = 2**62  # keeps every sum of two decoded values within int64

Words = npt.NDArray[np.uint64]


class Coding(enum.Enum):
    """How the values of a column become unsigned words.

    PLAIN: as they are. DELTA: zigzag of the difference to the row before. BACK: row number minus value.
    WORDS: 64 bits without any meaning of their own.
    """

    PLAIN = 0
    DELTA = 1
    BACK = 2
    WORDS = 3


def to_words(column: IntArray, coding: Coding) -> Words:
    """The unsigned words that stand for a column."""
    if coding is Coding.WORDS:
        return column.astype(np.uint64, copy=False)
    values = column.astype(np.int64)
    if coding is Coding.DELTA:
        step = np.diff(values, prepend=0)
        values = (step << 1) ^ (step >> 63)
    elif coding is Coding.BACK:
        values = np.arange(len(values)) - values
    return values.astype(np.uint64)


def from_words(words: Words, coding: Coding, where: str) -> IntArray:
    """The column that unsigned words stand for; int64, or uint64 for `Coding.WORDS`.

    Raises:
        SnapshotFileError: A word is larger than any value that is ever written.
    """
    if coding is Coding.WORDS:
        return words
    if len(words) and int(words.max()) >= LARGEST:
        raise damaged("a value is out of range", where)
    values = words.astype(np.int64)
    if coding is Coding.DELTA:
        return np.asarray(np.cumsum((values >> 1) ^ -(values & 1)))
    if coding is Coding.BACK:
        return np.asarray(np.arange(len(values)) - values)
    return values


def width_of(words: Words) -> int:
    """Bytes that the largest word needs: 1, 2, 4 or 8."""
    return int(np.min_scalar_type(int(words.max(initial=0))).itemsize)


def to_planes(words: Words, width: int) -> bytes:
    """The low `width` bytes of each word, all lowest bytes first."""
    octets = np.ascontiguousarray(words.astype("<u8")).view(np.uint8).reshape(len(words), 8)
    return np.ascontiguousarray(octets[:, :width].T).tobytes()


def from_planes(data: memoryview, rows: int, width: int) -> Words:
    """The words of `rows` rows; `data` holds exactly `rows * width` bytes."""
    octets = np.zeros((rows, 8), np.uint8)
    octets[:, :width] = np.frombuffer(data, np.uint8).reshape(width, rows).T
    return octets.view("<u8").reshape(rows).astype(np.uint64, copy=False)


def encode_columns(columns: Sequence[tuple[IntArray, Coding]]) -> tuple[list[int], bytes]:
    """Encodes columns one after the other.

    Returns:
        The width of each column in bytes a row, and the bytes of all of them.
    """
    words = [to_words(column, coding) for column, coding in columns]
    widths = [width_of(column) for column in words]
    return widths, b"".join(to_planes(column, width) for column, width in zip(words, widths, strict=True))


def decode_columns(
    data: memoryview, layout: Sequence[tuple[str, Coding, int, int]], where: str
) -> Iterator[tuple[str, IntArray]]:
    """Decodes what `encode_columns` wrote.

    Args:
        data: Exactly the bytes of all the columns.
        layout: Name, coding, number of rows and width of each.
        where: What to call the place in an error.

    Yields:
        The name of a column and its values.
    """
    start = 0
    for name, coding, rows, width in layout:
        end = start + rows * width
        yield name, from_words(from_planes(data[start:end], rows, width), coding, f"{where}, column {name!r}")
        start = end


def damaged(why: str, where: str) -> SnapshotFileError:
    """The error for a file that cannot be what `save` wrote."""
    return SnapshotFileError(
        f"The snapshot file is damaged: {why}.",
        where=where,
        hint="Copy or download the file again, or save the snapshot again; nothing was loaded.",
    )
