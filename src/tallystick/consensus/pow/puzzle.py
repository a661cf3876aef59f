"""The puzzle: a nonce that brings a hash over the header below a target.

The seed is ``H("pow", header hash, miner)``, so that nobody can use another's work; a nonce solves
it if SHA-256(seed, nonce as eight little-endian bytes), read as a big-endian number, is below
2^256 divided by the expected number of tries, rounded down.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar

from tallystick.codec import U63, Label, Record, decode
from tallystick.crypto.hashes import sha256
from tallystick.errors import VerificationError
from tallystick.ledger.block import Header, header_hash

__all__ = ["BadWorkError", "Work", "check_work", "solve"]

HASHES = 1 << 256
NONCE_BYTES = 8


class BadWorkError(VerificationError):
    """The nonce does not solve the header's puzzle."""

    slug: ClassVar[str] = "bad-work"


class Work(Record):
    """A mined block's evidence: who mined it, and the nonce that solves its puzzle."""

    miner: Label
    nonce: U63


def solve(header: Header, miner: str, tries: int) -> tuple[Work, int]:
    """Return the solution and how many nonces were tried for it.

    Parameters
    ----------
    tries
        How many are expected; with 1 the first nonce is a solution.

    Notes
    -----
    The number tried is geometric with mean ``tries``; about a microsecond each.
    """
    seed, target = _seed(header, miner), HASHES // tries
    nonce = 0
    while _number(seed, nonce) >= target:
        nonce += 1
    return Work(miner, nonce), nonce + 1


def check_work(header: Header, evidence: bytes, tries: int) -> Work:
    """Return the work in a block's evidence after checking it.

    Raises
    ------
    DecodeError
        The evidence is no work.
    BadWorkError
        Its nonce does not solve the puzzle.
    """
    work = decode(Work, evidence)
    if _number(_seed(header, work.miner), work.nonce) >= HASHES // tries:
        msg = f"block {header.height} of '{work.miner}' does not solve its puzzle"
        raise BadWorkError(msg)
    return work


def _seed(header: Header, miner: str) -> bytes:
    return sha256("pow", header_hash(header), miner.encode())


def _number(seed: bytes, nonce: int) -> int:
    digest = hashlib.sha256(seed + nonce.to_bytes(NONCE_BYTES, "little")).digest()
    return int.from_bytes(digest, "big")
