"""The outer layer of a snapshot file: magic, schema version, checksum, a JSON header and one block of columns."""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

from peftviz.core.codec import damaged
from peftviz.errors import SnapshotFileError

MAGIC = b"\x89PVS\r\n\x1a\n"  # as with PNG: shows at once when a transfer as text has changed line ends
SCHEMA = 2
# Magic, schema, reserved, CRC-32 of all that follows, bytes of the header raw and packed, bytes of the block packed.
PREFIX = struct.Struct("<8sHHIIII")

MAX_HEADER = 2**26
MAX_BLOCK = 2**30
MAX_FILE = 2**30
MAX_NESTING = 64
LEVEL = 6


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and ASCII only; NaN and Infinity as Python writes them."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def pack(header: dict[str, Any], block: bytes) -> bytes:
    """The bytes of a file.

    Raises:
        SnapshotFileError: The header or the block is larger than any file may hold.
    """
    raw = canonical_json(header).encode("ascii")
    head, body = zlib.compress(raw, LEVEL), zlib.compress(block, LEVEL)
    if len(raw) > MAX_HEADER or len(block) > MAX_BLOCK or len(head) + len(body) > MAX_FILE - PREFIX.size:
        raise SnapshotFileError(
            "The snapshot is too large for the file format.",
            where=f"{len(raw):,} bytes of header, {len(block):,} bytes of columns",
            hint="Save fewer states in one file, or a part of the model.",
        )
    sizes = struct.pack("<III", len(raw), len(head), len(body))
    checksum = zlib.crc32(body, zlib.crc32(head, zlib.crc32(sizes)))
    return PREFIX.pack(MAGIC, SCHEMA, 0, checksum, len(raw), len(head), len(body)) + head + body


def unpack(data: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    """Takes a file apart; checks sizes and checksum, and inflates the header only.

    Returns:
        The header and the block of columns, still packed: `inflate` it once its size is known.

    Raises:
        SnapshotFileError: No snapshot file, a newer schema, or damage.
    """
    if data[:4] != MAGIC[:4] or len(data) < 10:
        raise SnapshotFileError(
            "The file is no peftviz snapshot.",
            where=where,
            hint="peftviz.load reads what Snapshot.save wrote; weights and configs are not snapshots.",
        )
    if data[:8] != MAGIC:
        raise damaged("its line ends were changed, as by a transfer in text mode", where)
    schema = int.from_bytes(data[8:10], "little")
    if schema > SCHEMA:
        raise SnapshotFileError(
            f"The snapshot file has schema {schema}; this version of peftviz reads up to {SCHEMA}.",
            where=where,
            hint="Update peftviz (pip install -U peftviz), or save the snapshot again with this version.",
        )
    if len(data) < PREFIX.size:
        raise damaged("it ends within its first bytes", where)
    _, _, reserved, checksum, raw, head, body = PREFIX.unpack_from(data)
    if schema < 1 or reserved:
        raise damaged("its first bytes make no sense", where)
    if len(data) != PREFIX.size + head + body:
        raise damaged(f"it has {len(data):,} bytes and should have {PREFIX.size + head + body:,}", where)
    if zlib.crc32(data[16:]) != checksum:
        raise damaged("its checksum does not fit", where)
    if raw > MAX_HEADER:
        raise damaged("its header is larger than any header may be", where)
    split = PREFIX.size + head
    header = parse_json(inflate(data[PREFIX.size : split], raw, where), f"{where}, header")
    if not isinstance(header, dict):
        raise damaged("its header is no JSON object", where)
    return header, data[split:]


def inflate(packed: bytes, size: int, where: str) -> bytes:
    """Unpacks to exactly `size` bytes; never makes more than one byte too many.

    Raises:
        SnapshotFileError: Not a zlib stream, or of another size.
    """
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, size + 1)
    except zlib.error:
        raise damaged("its compressed data cannot be unpacked", where) from None
    if len(data) != size or not stream.eof or stream.unused_data:
        raise damaged("its compressed data has another size than declared", where)
    return data


def parse_json(text: str | bytes, where: str) -> Any:
    """Parses JSON that may come from anyone.

    Raises:
        SnapshotFileError: No JSON, or nested more deeply than `MAX_NESTING`.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise damaged("a part of it is no valid JSON", where) from None
    level = [value]
    for _ in range(MAX_NESTING):
        level = [
            item
            for node in level
            if isinstance(node, (dict, list))
            for item in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return value
    raise damaged(f"JSON is nested more than {MAX_NESTING} levels deep", where)


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of bearable size.

    Raises:
        OSError: The file cannot be read.
        SnapshotFileError: No regular file, or too large.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
        raise SnapshotFileError(
            "The path is no snapshot file.",
            where=str(path),
            hint=f"Give the path of a regular file of at most {MAX_FILE:,} bytes that Snapshot.save wrote.",
        )
    return path.read_bytes()


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: a reader sees the old content or the new one.

    Raises:
        OSError: The folder does not exist or cannot be written.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "There is no such folder to write into", str(path.parent))
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
