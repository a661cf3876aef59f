"""Sets of validators: their order, their hash, and the set that a genesis founds.

References
----------
CometBFT v0.39, ``types/validator.go`` and ``types/validator_set.go``.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

import msgspec

from tallystick.codec import Hash, Record
from tallystick.crypto import keys
from tallystick.crypto.merkle_list import list_root
from tallystick.crypto.protobuf import message, octets, varint_field
from tallystick.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.ledger.genesis import Genesis

__all__ = [
    "FOUNDING_POWER",
    "MOST_POWER",
    "MOST_VALIDATORS",
    "Validator",
    "Validators",
    "address_of",
    "check_validators",
    "founding_validators",
    "in_order",
    "power_of",
    "validators_hash",
]

FOUNDING_POWER = 10
MOST_POWER = 2**60 - 1  # of a whole set
MOST_VALIDATORS = 4096
_ADDRESS_BYTES = 20


class Validator(Record):
    """A validator's Ed25519 key and what its vote weighs."""

    public: Hash
    power: Annotated[int, msgspec.Meta(ge=1, le=MOST_POWER)]


Validators = tuple[Validator, ...]


def address_of(public: bytes) -> bytes:
    """Return the address, 20 bytes, under which a commit names the owner of a key."""
    return sha256(public).digest()[:_ADDRESS_BYTES]


def in_order(validators: Iterable[Validator]) -> Validators:
    """Return the validators as a commit lists them: power falling, then address rising."""
    return tuple(sorted(validators, key=lambda each: (-each.power, address_of(each.public))))


def power_of(validators: Iterable[Validator]) -> int:
    """Return the sum of the validators' power."""
    return sum(each.power for each in validators)


@lru_cache(maxsize=64)
def validators_hash(validators: Validators) -> bytes:
    """Return the root over the set in the order given, which a header holds."""
    return list_root(
        [message(1, octets(1, each.public)) + varint_field(2, each.power) for each in validators]
    )


@lru_cache(maxsize=64)
def check_validators(validators: Validators) -> None:
    """Check that a set is one: not empty, in order, each key valid and once, power in bounds.

    Raises
    ------
    VerificationError
        It is not.
    """
    if not validators:
        msg = "the set of validators is empty"
        raise VerificationError(msg)
    if len({each.public for each in validators}) != len(validators):
        msg = "a validator stands in the set twice"
        raise VerificationError(msg)
    if validators != in_order(validators):
        msg = "the validators are not in the order of their power and address"
        raise VerificationError(msg)
    if power_of(validators) > MOST_POWER:
        msg = "the validators' power is 2^60 or more"
        raise VerificationError(msg)
    for each in validators:
        keys.check_public(each.public)


def founding_validators(genesis: Genesis) -> Validators:
    """Return the set of height 1: each founder's validator key, all of the same power."""
    found = (founder.validator for founder in genesis.founders)
    return in_order(Validator(public, FOUNDING_POWER) for public in found if public is not None)
