"""CometBFT's header and the hashes in it, computed as CometBFT computes them.

A header's hash is a Merkle root over its fields, each encoded by itself; a vote signs that hash.

References
----------
CometBFT v0.39, ``types/block.go``, ``types/tx.go`` and ``types/results.go``.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

import msgspec

from tallystick.codec import I63, U32, U63, Bytes, Record
from tallystick.crypto.merkle_list import list_root
from tallystick.crypto.protobuf import octets, timestamp, varint_field
from tallystick.crypto.votes import BlockId, Moment, block_id_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BLOCK_PROTOCOL",
    "HASH_FIELDS",
    "CometHeader",
    "TxResult",
    "comet_header_hash",
    "data_hash",
    "results_hash",
]

BLOCK_PROTOCOL = 11
HASH_FIELDS = (
    "last_commit_hash",
    "data_hash",
    "validators_hash",
    "next_validators_hash",
    "consensus_hash",
    "last_results_hash",
    "evidence_hash",
)

_Hash = Annotated[bytes, msgspec.Meta(max_length=32)]  # or empty
_Address = Annotated[bytes, msgspec.Meta(max_length=20)]


class CometHeader(Record):
    """A block's header; ``app_hash`` is our state root after the block before it."""

    block_version: U63
    app_version: U63
    chain_id: Annotated[str, msgspec.Meta(max_length=50)]
    height: U63
    time: Moment
    last_block_id: BlockId
    last_commit_hash: _Hash
    data_hash: _Hash
    validators_hash: _Hash
    next_validators_hash: _Hash
    consensus_hash: _Hash
    app_hash: Bytes
    last_results_hash: _Hash
    evidence_hash: _Hash
    proposer_address: _Address


class TxResult(Record):
    """What of a transaction's result goes into the next header."""

    code: U32
    data: bytes = b""
    gas_wanted: I63 = 0
    gas_used: I63 = 0


def comet_header_hash(header: CometHeader) -> bytes:
    """Return the header's hash, 32 bytes: what validators vote for."""
    return list_root(
        [
            varint_field(1, header.block_version) + varint_field(2, header.app_version),
            octets(1, header.chain_id.encode()),
            varint_field(1, header.height),
            timestamp(header.time.seconds, header.time.nanos),
            block_id_bytes(header.last_block_id),
            octets(1, header.last_commit_hash),
            octets(1, header.data_hash),
            octets(1, header.validators_hash),
            octets(1, header.next_validators_hash),
            octets(1, header.consensus_hash),
            octets(1, header.app_hash),
            octets(1, header.last_results_hash),
            octets(1, header.evidence_hash),
            octets(1, header.proposer_address),
        ]
    )


def data_hash(transactions: Iterable[bytes]) -> bytes:
    """Return the root over the SHA-256 of each transaction; that of nothing for none.

    Examples
    --------
    >>> data_hash([]).hex()[:8]
    'e3b0c442'
    """
    return list_root([sha256(transaction).digest() for transaction in transactions])


def results_hash(results: Iterable[TxResult]) -> bytes:
    """Return the root over the results of a block's transactions, which the next header holds."""
    return list_root(
        [
            varint_field(1, result.code)
            + octets(2, result.data)
            + varint_field(5, result.gas_wanted)
            + varint_field(6, result.gas_used)
            for result in results
        ]
    )
