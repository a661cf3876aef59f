"""Votes of CometBFT validators: what exactly one signs.

A validator signs the length-prefixed protobuf encoding of a ``CanonicalVote``. The chain's name is
part of it, so that a vote means nothing on another chain.

References
----------
CometBFT v0.39, ``proto/tendermint/types/canonical.proto`` and ``types/vote.go``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tallystick.codec import U63, Record
from tallystick.crypto import keys
from tallystick.crypto.protobuf import (
    delimited,
    fixed64,
    message,
    octets,
    timestamp,
    varint_field,
)

__all__ = [
    "NANOS",
    "PRECOMMIT",
    "PREVOTE",
    "BlockId",
    "Moment",
    "Vote",
    "block_id_bytes",
    "is_vote_of",
    "sign_bytes",
]

PREVOTE: Literal[1] = 1
PRECOMMIT: Literal[2] = 2
MOST_ROUND = 2**31 - 1
MOST_PARTS = 2**32 - 1
NANOS = 10**9  # in a second

_Hash = Annotated[bytes, msgspec.Meta(max_length=32)]


class Moment(Record):
    """A time as CometBFT keeps it: seconds since 1970, which may be negative, and nanoseconds."""

    seconds: Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
    nanos: Annotated[int, msgspec.Meta(ge=0, lt=NANOS)]

    @property
    def total(self) -> int:
        """Nanoseconds since 1970."""
        return self.seconds * NANOS + self.nanos

    @property
    def milliseconds(self) -> int:
        """Whole milliseconds since 1970, rounded down."""
        return self.total // 10**6


class BlockId(Record):
    """Which block: its header's hash, and the number and root of the parts it travels in.

    A vote for no block has empty hashes and no parts.
    """

    hash: _Hash = b""
    parts: Annotated[int, msgspec.Meta(ge=0, le=MOST_PARTS)] = 0
    parts_hash: _Hash = b""

    @property
    def is_nil(self) -> bool:
        """Whether it names no block."""
        return not self.hash and not self.parts and not self.parts_hash


class Vote(Record):
    """A validator's vote in one round; ``kind`` is `PREVOTE` or `PRECOMMIT`."""

    kind: Annotated[int, msgspec.Meta(ge=1, le=2)]
    height: U63
    round: Annotated[int, msgspec.Meta(ge=0, le=MOST_ROUND)]
    block: BlockId
    time: Moment


def block_id_bytes(block: BlockId) -> bytes:
    """Return the protobuf encoding of a block's id, which votes and headers share."""
    parts = varint_field(1, block.parts) + octets(2, block.parts_hash)
    return octets(1, block.hash) + message(2, parts)


def sign_bytes(vote: Vote, chain_id: str) -> bytes:
    """Return what the validator signs."""
    return delimited(
        varint_field(1, vote.kind)
        + fixed64(2, vote.height)
        + fixed64(3, vote.round)
        + (b"" if vote.block.is_nil else message(4, block_id_bytes(vote.block)))
        + message(5, timestamp(vote.time.seconds, vote.time.nanos))
        + octets(6, chain_id.encode())
    )


def is_vote_of(public: bytes, vote: Vote, chain_id: str, signature: bytes) -> bool:
    """Return whether the owner of ``public`` signed the vote on this chain, as CometBFT sees it."""
    return keys.is_valid_cofactored(public, sign_bytes(vote, chain_id), signature)
