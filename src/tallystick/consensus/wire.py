"""What members and nodes say to each other over HTTP, signed.

A member signs each request that writes, and each for bytes of a task: method, path with query, the
hash of the body, the time and a number used once. A node signs its acknowledgement of a
transaction, so that dropping it can be shown. Members pass on the newest block they have checked,
with its seal: whoever is shown another one of that height holds proof that the sealer signed both.
"""

from __future__ import annotations

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Annotated

import msgspec

from tallystick.codec import U8, U63, Hash, Label, Record, decode, encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import CHUNK_BYTES
from tallystick.errors import DecodeError
from tallystick.ledger.block import Block, Header

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "API",
    "HEIGHT_HEADER",
    "MOST_BLOCK_BYTES",
    "MOST_TOGETHER",
    "MOST_TOGETHER_BYTES",
    "NO_PART_HERE",
    "PIECE_BYTES",
    "REQUEST_HEADER",
    "SIGNATURE_HEADER",
    "SIZE_HEADER",
    "TIME_HEADER",
    "Acknowledgement",
    "Held",
    "Request",
    "SealedHeader",
    "Sighting",
    "blocks_in",
    "frame",
    "frames_in",
    "is_acknowledged",
    "is_held",
    "is_signed",
    "read_headers",
    "sign_acknowledgement",
    "sign_held",
    "sign_request",
]

API = "/v1"
REQUEST_HEADER = "Tally-Request"
SIGNATURE_HEADER = "Tally-Signature"
HEIGHT_HEADER = "Tally-Height"  # of the node's head
SIZE_HEADER = "Tally-Size"  # of the blob whose chunks are listed, in bytes
TIME_HEADER = "Tally-Time"  # the node's clock, in milliseconds
NO_PART_HERE = "no-part-here"  # what a node says of a task in which its organisation has no part
REQUEST_DOMAIN = b"request/1"
ACKNOWLEDGE_DOMAIN = b"acknowledgement/1"
HELD_DOMAIN = b"held/1"
MOST_BLOCK_BYTES = 1 << 26
MOST_TOGETHER = 256  # transactions in one request
MOST_TOGETHER_BYTES = 1 << 22
PIECE_BYTES = 4 * CHUNK_BYTES  # of a blob, in one request
_LENGTH = struct.Struct("<I")


class Request(Record):
    """An HTTP request as its member signs it; ``time`` in milliseconds since 1970."""

    genesis: Hash
    member: Label
    key: U8
    method: Annotated[str, msgspec.Meta(max_length=8)]
    target: Annotated[str, msgspec.Meta(max_length=2048)]
    body: Hash
    time: U63
    once: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]


class Acknowledgement(Record):
    """A node's word that it took a transaction, at a height and time of its own."""

    tx: Hash
    height: U63
    time: U63


class Held(Record):
    """A node's word that it keeps a task's blob, whole."""

    task: Hash
    root: Hash
    size: U63
    time: U63


class SealedHeader(Record):
    """A header with what its engine signed it by."""

    header: Header
    evidence: Annotated[bytes, msgspec.Meta(max_length=1 << 16)]


class Sighting(Record):
    """The newest block a member has checked."""

    member: Label
    seen: SealedHeader


def sign_request(request: Request, secret: bytes) -> dict[str, str]:
    """Return the headers that carry a request and its signature."""
    raw = encode(request)
    signature = keys.sign(secret, REQUEST_DOMAIN, raw)
    return {
        REQUEST_HEADER: urlsafe_b64encode(raw).decode(),
        SIGNATURE_HEADER: urlsafe_b64encode(signature).decode(),
    }


def read_headers(request: str, signature: str) -> tuple[Request, bytes, bytes]:
    """Return the request that two headers carry, unchecked, its encoding and its signature.

    Raises
    ------
    DecodeError
        They are no such headers.
    """
    try:
        raw = urlsafe_b64decode(request.encode("ascii"))
        signed = urlsafe_b64decode(signature.encode("ascii"))
    except (binascii.Error, ValueError) as error:
        msg = "the request's signature is not in base64"
        raise DecodeError(msg) from error
    return decode(Request, raw), raw, signed


def is_signed(raw: bytes, signature: bytes, public: bytes) -> bool:
    """Return whether the owner of ``public`` signed the encoded request."""
    return keys.is_valid(public, REQUEST_DOMAIN, raw, signature)


def sign_acknowledgement(given: Acknowledgement, secret: bytes, genesis: bytes) -> bytes:
    """Return the node's signature over an acknowledgement."""
    return keys.sign(secret, ACKNOWLEDGE_DOMAIN, genesis + encode(given))


def is_acknowledged(
    given: Acknowledgement, signature: bytes, public: bytes, genesis: bytes
) -> bool:
    """Return whether the owner of ``public`` signed the acknowledgement on this ledger."""
    return keys.is_valid(public, ACKNOWLEDGE_DOMAIN, genesis + encode(given), signature)


def sign_held(held: Held, secret: bytes, genesis: bytes) -> bytes:
    """Return the node's signature over its word that it keeps a blob."""
    return keys.sign(secret, HELD_DOMAIN, genesis + encode(held))


def is_held(held: Held, signature: bytes, public: bytes, genesis: bytes) -> bool:
    """Return whether the owner of ``public`` gave its word for a blob on this ledger."""
    return keys.is_valid(public, HELD_DOMAIN, genesis + encode(held), signature)


def frame(data: bytes) -> bytes:
    """Return an encoded block or transaction behind its length, four bytes, little-endian."""
    return _LENGTH.pack(len(data)) + data


def frames_in(data: bytes) -> Iterator[bytes]:
    """Yield what is framed, each as it was before `frame`.

    Raises
    ------
    DecodeError
        A frame is cut off or too long.
    """
    view, at = memoryview(data), 0
    while at < len(view):
        if at + _LENGTH.size > len(view):
            msg = "a frame's length is cut off"
            raise DecodeError(msg)
        (size,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        if size > min(MOST_BLOCK_BYTES, len(view) - at):
            msg = "a frame is cut off"
            raise DecodeError(msg)
        yield bytes(view[at : at + size])
        at += size


def blocks_in(data: bytes) -> Iterator[Block]:
    """Yield the framed blocks of a response.

    Raises
    ------
    DecodeError
        A frame is cut off or too long, or holds no canonical block.
    """
    for framed in frames_in(data):
        yield decode(Block, framed)
