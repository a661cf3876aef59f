"""What a member must not forget: every record it is about to commit to, durable before it leaves.

One append-only file. An entry counts once it is whole; a tail cut off by a crash is dropped, since
whatever it would have said has not been sent.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, BinaryIO

from tallystick.codec import Record, decode, encode
from tallystick.errors import DecodeError
from tallystick.mechanisms.records import Artefact, Complaint, Key, Opinion

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Journal"]

HEAD = struct.Struct("<II")


class Line(Record):
    """A record under its key."""

    key: Key
    record: Artefact | Opinion | Complaint


class Journal:
    """Records by key, kept in a file, or without a path for as long as the process lives."""

    def __init__(self, path: Path | None) -> None:
        """Open the file and read what is whole."""
        self._file: BinaryIO = io.BytesIO()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        self._dirty = False
        self._records: dict[bytes, Artefact | Opinion | Complaint] = {}
        self._load()

    def get(self, key: Key) -> Artefact | Opinion | Complaint | None:
        """Return what was recorded for ``key``."""
        return self._records.get(encode(key))

    def put(self, key: Key, record: Artefact | Opinion | Complaint) -> None:
        """Record; survives this process at once, and power loss after the next ``flush``."""
        data = encode(Line(key, record))
        self._file.write(HEAD.pack(len(data), zlib.crc32(data)) + data)
        self._file.flush()
        self._dirty = True
        self._records[encode(key)] = record

    def flush(self) -> None:
        """Return when everything recorded survives power loss."""
        if self._dirty:
            os.fsync(self._file.fileno())
            self._dirty = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _load(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        at = 0
        while at + HEAD.size <= len(data):
            size, checksum = HEAD.unpack_from(data, at)
            body = data[at + HEAD.size : at + HEAD.size + size]
            if len(body) != size or zlib.crc32(body) != checksum:
                break
            try:
                line = decode(Line, body)
            except DecodeError:
                break
            self._records[encode(line.key)] = line.record
            at += HEAD.size + size
        if at != len(data):
            self._file.truncate(at)
        self._file.seek(0, os.SEEK_END)
