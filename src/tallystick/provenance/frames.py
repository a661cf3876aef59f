"""Frames: how a bundle's file is cut, read strictly and never further than it goes.

A file begins with `MAGIC`, whose sixth byte is the format's version. A frame is its kind (one
byte), the length of its payload (four bytes, little-endian) and the payload. Kinds never fall;
after a blob's frame follow its bytes as they are, so that a reader can map them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, BinaryIO

import msgspec

from tallystick.codec import U8, U63, Hash, Record
from tallystick.crypto.merkle_map import MapProof
from tallystick.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MAGIC",
    "MAX_PAYLOAD",
    "BlobHead",
    "ChunkList",
    "Frame",
    "Head",
    "Kind",
    "RowProof",
    "read_frames",
    "write_frame",
]

MAGIC = b"TALLY\x01\n"
_PREFIX = struct.Struct("<BI")


class Kind(IntEnum):
    """What a frame holds, in the order of the file."""

    HEAD = 1
    BLOCK = 2
    LEAF = 3
    PROOF = 4
    CHUNKS = 5
    BLOB = 6
    END = 7


# No honest payload is longer: a genesis, a row and an output of 4096 subjects fit 16 MiB.
MAX_PAYLOAD = {
    Kind.HEAD: 1 << 24,
    Kind.BLOCK: 1 << 26,
    Kind.LEAF: 1 << 24,
    Kind.PROOF: 1 << 24,
    Kind.CHUNKS: 1 << 26,
    Kind.BLOB: 64,
    Kind.END: 0,
}


class Head(Record):
    """What the rest of the file has to amount to."""

    genesis: Annotated[bytes, msgspec.Meta(max_length=1 << 24)]
    task: Hash
    height: U63
    leaves: U63
    chunked: U8
    blobs: U63


class RowProof(Record):
    """The task's row as the final state holds it, and the proof of that."""

    row: Annotated[bytes, msgspec.Meta(max_length=1 << 24)]
    proof: MapProof


class ChunkList(Record):
    """The hashes of the final model's chunks, so that a difference can be named without it."""

    hashes: Annotated[tuple[Hash, ...], msgspec.Meta(min_length=1, max_length=1 << 20)]


class BlobHead(Record):
    """A blob whose ``size`` bytes follow the frame."""

    root: Hash
    size: U63


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame's kind and payload, the byte where it starts and the byte after it."""

    kind: Kind
    payload: bytes
    start: int
    end: int


def write_frame(file: BinaryIO, kind: Kind, payload: bytes) -> None:
    """Append one frame.

    Raises
    ------
    DecodeError
        The payload is larger than any reader takes.
    """
    if len(payload) > MAX_PAYLOAD[kind]:
        msg = f"a {kind.name.lower()} of {len(payload)} bytes does not fit a frame"
        raise DecodeError(msg)
    file.write(_PREFIX.pack(kind, len(payload)))
    file.write(payload)


def read_frames(file: BinaryIO, size: int, start: int = 0) -> Iterator[Frame]:
    """Yield the frames of a file of ``size`` bytes from ``start``, the end's included.

    Whoever reads a blob's frame seeks past the blob's bytes before asking for the next frame.

    Raises
    ------
    DecodeError
        No bundle, an unknown kind, kinds out of order, a frame that is too long or cut off, or
        bytes after the end.
    """
    file.seek(start)
    if not start and file.read(len(MAGIC)) != MAGIC:
        msg = "not a bundle, or one of a version this program does not know"
        raise DecodeError(msg)
    last = 0
    while True:
        at = file.tell()
        prefix = file.read(_PREFIX.size)
        if len(prefix) < _PREFIX.size:
            msg = f"the bundle is cut off at byte {at}"
            raise DecodeError(msg)
        number, length = _PREFIX.unpack(prefix)
        end = at + _PREFIX.size + length
        if number < last or number not in Kind._value2member_map_:
            msg = f"the frame at byte {at} is of kind {number}, which has no place there"
            raise DecodeError(msg)
        if length > MAX_PAYLOAD[Kind(number)] or end > size:
            msg = f"the frame at byte {at} is longer than its limit or the file"
            raise DecodeError(msg)
        last = number
        yield Frame(Kind(number), file.read(length), at, end)
        if number == Kind.END:
            if end != size:
                msg = f"there are bytes after the bundle's end at byte {end}"
                raise DecodeError(msg)
            return
