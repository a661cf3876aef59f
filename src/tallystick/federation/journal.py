"""What a member must not forget: every record it is about to commit to, durable before it leaves.

One append-only file. An entry counts once it is whole. A last line cut off by a crash is dropped,
since whatever it would have said has not been sent; any other damage is refused, for what follows
it may have been.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

from tallystick.codec import Record, decode, encode
from tallystick.errors import DecodeError, UnavailableError
from tallystick.mechanisms.records import Artefact, Complaint, Key, Opinion
from tallystick.storage.files import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Journal"]

HEAD = struct.Struct("<II")  # a line's length in bytes, and its CRC-32


class Line(Record):
    """A record under its key."""

    key: Key
    record: Artefact | Opinion | Complaint


class Journal:
    """Records by key, kept in a file.

    Raises
    ------
    UnavailableError
        The file is damaged before its end; it stays as it is.
    """

    def __init__(self, path: Path) -> None:
        """Open the file and read what is whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._is_new = not path.exists()
        self._records: dict[bytes, Artefact | Opinion | Complaint] = {}
        self._file = path.open("a+b", buffering=0)
        self._dirty = False
        try:
            self._size = self._load()
        except BaseException:
            self._file.close()
            raise

    def get(self, key: Key) -> Artefact | Opinion | Complaint | None:
        """Return what was recorded for ``key``."""
        return self._records.get(encode(key))

    def put(self, key: Key, record: Artefact | Opinion | Complaint) -> None:
        """Record; survives this process at once, and power loss after the next ``flush``.

        Raises
        ------
        OSError
            The disk is full or failed; nothing was recorded.
        """
        data = encode(Line(key, record))
        whole = HEAD.pack(len(data), zlib.crc32(data)) + data
        try:
            rest = memoryview(whole)
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:
            self._file.truncate(self._size)  # else the next line would follow half of this one
            raise
        self._size += len(whole)
        self._dirty = True
        self._records[encode(key)] = record

    def flush(self) -> None:
        """Return when everything recorded survives power loss."""
        if self._dirty:
            os.fsync(self._file.fileno())
            self._dirty = False
        if self._is_new:
            sync_folder(self._path.parent)
            sync_folder(self._path.parent.parent)
            self._is_new = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _load(self) -> int:
        """Read every line, cut off a torn last one, and return the size of what is whole."""
        self._file.seek(0)
        data = self._file.readall()
        at, number = 0, 1
        while at < len(data):
            end = _end_of(data, at)
            if _is_torn(data, at):
                self._file.truncate(at)
                break
            line = None if end is None else _line(data, at, end)
            if end is None or line is None:
                msg = f"{self._path}: line {number}, from byte {at}, is damaged"
                raise UnavailableError(msg, hint="restore the file from a copy")
            self._records.setdefault(encode(line.key), line.record)
            at, number = end, number + 1
        return at


def _end_of(data: bytes, at: int) -> int | None:
    """Return where the line at ``at`` ends, `None` if that is beyond the file."""
    if at + HEAD.size > len(data):
        return None
    size, _ = HEAD.unpack_from(data, at)
    end = at + HEAD.size + size
    return end if end <= len(data) else None


def _line(data: bytes, at: int, end: int) -> Line | None:
    """Return the line between two places if it is whole."""
    body = data[at + HEAD.size : end]
    if zlib.crc32(body) != HEAD.unpack_from(data, at)[1]:
        return None
    try:
        return decode(Line, body)
    except DecodeError:
        return None


def _is_torn(data: bytes, at: int) -> bool:
    """Whether the file's last line was cut off: too short for its length, or never filled in.

    A wrong length looks alike; but nothing whole comes after a torn line, and it lacks bytes that
    its checksum is about.
    """
    if not any(data[at:]):
        return True  # the file had grown when the power failed, and nothing was written yet
    if _end_of(data, at) is not None:
        return False
    if at + HEAD.size <= len(data) and _line(data, at, len(data)) is not None:
        return False
    for start in range(at + 1, len(data) - HEAD.size):
        end = _end_of(data, start)
        if end is not None and _line(data, start, end) is not None:
            return False
    return True
