"""Blocks: transactions in order, under a header that fixes what they led to."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tallystick.codec import U63, Hash, Record, encode
from tallystick.crypto.hashes import sha256
from tallystick.crypto.merkle_list import list_root

__all__ = ["Block", "Header", "genesis_header", "header_hash", "transactions_root"]


class Header(Record):
    """What a block claims. ``time`` is in milliseconds and never falls."""

    chain: Hash
    height: U63
    time: U63
    parent: Hash
    tx_root: Hash
    receipts_root: Hash
    state_root: Hash


class Block(Record):
    """A header, the transactions' wire bytes, and the engine's evidence for it."""

    header: Header
    transactions: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=1 << 20)]
    evidence: Annotated[bytes, msgspec.Meta(max_length=1 << 20)] = b""


def header_hash(header: Header) -> bytes:
    """Return the header's hash: what evidence signs and the next header names as parent."""
    return sha256("header", encode(header))


def transactions_root(transactions: tuple[bytes, ...] | list[bytes]) -> bytes:
    """Return the RFC 6962 root over the transactions' wire bytes."""
    return list_root(list(transactions))


def genesis_header(chain: bytes, time: int, state_root: bytes) -> Header:
    """Return the header of height 0, which holds no transactions."""
    empty = list_root([])
    return Header(
        chain=chain,
        height=0,
        time=time,
        parent=bytes(32),
        tx_root=empty,
        receipts_root=empty,
        state_root=state_root,
    )
