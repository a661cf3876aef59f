"""A task's own randomness: seeded by its id, advanced by the salts of every sealed stage.

Whoever withholds a salt chooses among two outcomes, k withholders among at most 2^k, however often
a window is opened again; a withheld salt costs the stage's bond, where it has one, and excludes its
author from draws until the next advance. Nothing claims to be unbiased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256

if TYPE_CHECKING:
    from tallystick.mechanisms.records import Key

__all__ = ["advance_beacon", "seal_of", "seed_beacon"]


def seed_beacon(task: bytes) -> bytes:
    """Return the beacon before the first salt."""
    return sha256("beacon-seed", task)


def advance_beacon(beacon: bytes, key: Key, salts: dict[str, bytes]) -> bytes:
    """Return the beacon after a reveal window shut: blind to the order salts came in."""
    revealed = tuple(sorted(salts.items()))
    return sha256("beacon", beacon, encode(key), encode(revealed))


def seal_of(key: Key, record: object, sender: str, salt: bytes) -> bytes:
    """Return the seal that binds a whole record to its key, sender and salt."""
    return sha256("seal", encode(key), encode(record), sender.encode(), salt)
