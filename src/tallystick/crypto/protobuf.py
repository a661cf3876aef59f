"""Write protobuf's wire format: the few forms in which CometBFT hashes and signs.

Written by hand, so that a verifier needs no library for bytes that have to be exact. As proto3 has
it, a field with its default value is left out; `message` writes one even when it is empty, for
fields that CometBFT's code always writes.

References
----------
Protocol Buffers, "Encoding", language version proto3.
"""

from __future__ import annotations

import struct

__all__ = ["delimited", "fixed64", "message", "octets", "timestamp", "varint", "varint_field"]

_VARINT, _FIXED64, _LENGTH = 0, 1, 2  # wire types
_WORD = 1 << 64
_MORE = 0x80  # more bytes follow


def varint(value: int) -> bytes:
    """Return the base-128 form of an integer, a negative one as its 64-bit complement.

    Examples
    --------
    >>> varint(300).hex()
    'ac02'
    """
    value %= _WORD
    out = bytearray()
    while value >= _MORE:
        out.append(value % _MORE | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_field(number: int, value: int) -> bytes:
    """Return an integer field; nothing for 0."""
    return _tag(number, _VARINT) + varint(value) if value else b""


def fixed64(number: int, value: int) -> bytes:
    """Return a signed field of eight bytes; nothing for 0."""
    return _tag(number, _FIXED64) + struct.pack("<q", value) if value else b""


def octets(number: int, value: bytes) -> bytes:
    """Return a field of bytes or text; nothing when it is empty."""
    return message(number, value) if value else b""


def message(number: int, encoded: bytes) -> bytes:
    """Return a field that holds an encoded message, also an empty one."""
    return _tag(number, _LENGTH) + delimited(encoded)


def timestamp(seconds: int, nanos: int) -> bytes:
    """Return the encoding of a ``google.protobuf.Timestamp``, without a field's tag."""
    return varint_field(1, seconds) + varint_field(2, nanos)


def delimited(encoded: bytes) -> bytes:
    """Return a message behind its length."""
    return varint(len(encoded)) + encoded


def _tag(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)
