"""ABCI's frames: a message behind its length as an unsigned varint, over a stream.

References
----------
CometBFT v0.39, ``spec/abci/abci++_client_server.md``, "Socket".
"""

from __future__ import annotations

from typing import Protocol

from tallystick.crypto.protobuf import delimited
from tallystick.errors import DecodeError

__all__ = ["MOST_FRAME_BYTES", "read_frame", "write_frame"]

MOST_FRAME_BYTES = 1 << 28  # CometBFT itself takes up to 2 GiB; no block here is near that
MOST_LENGTH_BYTES = 5
_MORE, _BITS = 0x80, 7


class Readable(Protocol):
    """What can be read from."""

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, fewer at the end."""
        ...


class Writable(Protocol):
    """What can be written to."""

    def write(self, data: bytes, /) -> object:
        """Append the bytes."""
        ...


def read_frame(stream: Readable) -> bytes | None:
    """Return the next message; `None` when the stream ends between two.

    Raises
    ------
    DecodeError
        It ends within one, or a length is none.
    """
    size = 0
    for place in range(MOST_LENGTH_BYTES):
        byte = stream.read(1)
        if not byte:
            if place:
                _cut_off()
            return None
        size |= (byte[0] % _MORE) << (_BITS * place)
        if byte[0] < _MORE:
            break
    else:
        msg = "a frame's length does not end"
        raise DecodeError(msg)
    if size > MOST_FRAME_BYTES:
        msg = f"a frame of {size} bytes; {MOST_FRAME_BYTES} are taken"
        raise DecodeError(msg)
    data = stream.read(size)
    if len(data) < size:
        _cut_off()
    return data


def write_frame(stream: Writable, message: bytes) -> None:
    """Append a message; whoever waits for it sees it once the stream is flushed."""
    stream.write(delimited(message))


def _cut_off() -> None:
    msg = "the stream ends within a frame"
    raise DecodeError(msg)
