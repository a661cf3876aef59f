"""The first facts: who founded the network, with which keys and money, and who orders it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tallystick.codec import U8, U32, U63, Hash, Label, Record, decode, encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.errors import ConfigError, DecodeError, VerificationError

__all__ = [
    "Founder",
    "Genesis",
    "Key",
    "Limits",
    "check_genesis",
    "engine_chain_id",
    "genesis_hash",
    "load_genesis",
]

LEAST_BYTES, MOST_BYTES = 1024, 64 * 1024
LEAST_VALIDITY, MOST_VALIDITY = 60_000, 30 * 24 * 3600 * 1000  # milliseconds

PublicKey = Hash
Role = Literal["owner", "validator", "worker"]
Engine = Literal["cometbft", "pow", "solo"]


class Key(Record):
    """A public key and what it may do."""

    public: PublicKey
    role: Role


class Founder(Record):
    """A founding member: one organisation, one seat, one vote, one id for good."""

    id: Label
    keys: Annotated[tuple[Key, ...], msgspec.Meta(min_length=1, max_length=16)]
    micros: U63

    @property
    def validator(self) -> bytes | None:
        """The public key it votes with, the only one of its role under CometBFT."""
        return next((key.public for key in self.keys if key.role == "validator"), None)


class Limits(Record):
    """Sizes every validator enforces."""

    block_bytes: U32 = 2 * 1024 * 1024
    transaction_bytes: U32 = 64 * 1024
    validity: U63 = 24 * 3600 * 1000


class Genesis(Record):
    """Where a ledger starts; its hash is in every signature on it."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z")]
    time: U63
    engine: Engine
    sealer: Annotated[str, msgspec.Meta(max_length=64)]
    trial: bool
    founders: Annotated[tuple[Founder, ...], msgspec.Meta(min_length=1, max_length=4096)]
    limits: Limits = Limits()
    protocol: U8 = 1


def genesis_hash(genesis: Genesis) -> bytes:
    """Return the hash that organisations publish and signatures carry."""
    return sha256("genesis", encode(genesis))


def engine_chain_id(genesis: Genesis) -> str:
    """Return what CometBFT calls the chain: its name and the beginning of the genesis hash.

    Every vote signs it, so that no vote counts on a ledger that started otherwise.
    """
    return f"{genesis.name}-{genesis_hash(genesis).hex()[:16]}"


def load_genesis(data: bytes) -> Genesis:
    """Decode and check a genesis.

    Raises
    ------
    DecodeError
        Not canonical, or a rule of `check_genesis` is broken.
    """
    genesis = decode(Genesis, data)
    try:
        check_genesis(genesis)
    except ConfigError as error:
        raise DecodeError(str(error)) from error
    return genesis


def _check_limits(genesis: Genesis) -> None:
    limits = genesis.limits
    if not LEAST_BYTES <= limits.transaction_bytes <= min(limits.block_bytes, MOST_BYTES):
        msg = "a transaction has 1 KiB to 64 KiB, and a block room for one"
        raise ConfigError(msg)
    if not LEAST_VALIDITY <= limits.validity <= MOST_VALIDITY or genesis.protocol != 1:
        msg = "transactions are valid for a minute to 30 days, and the protocol starts at 1"
        raise ConfigError(msg)


def _check_validators(genesis: Genesis) -> None:
    if genesis.sealer:
        msg = f"nobody seals under 'cometbft', and '{genesis.sealer}' is named as the sealer"
        raise ConfigError(msg)
    if all(founder.validator is None for founder in genesis.founders):
        msg = "no founder has a validator key, and 'cometbft' needs one at least"
        raise ConfigError(msg)
    for founder in genesis.founders:
        if sum(key.role == "validator" for key in founder.keys) > 1:
            msg = f"'{founder.id}' has two validator keys, and votes with one"
            raise ConfigError(msg, hint="give the newest in the card; the others come by rotation")


def check_genesis(genesis: Genesis) -> None:
    """Refuse unsorted or doubled members, bad keys, a stranger as sealer, or too much money.

    Raises
    ------
    ConfigError
        Says which rule is broken.
    """
    ids = [founder.id for founder in genesis.founders]
    if ids != sorted(set(ids)):
        msg = "the founders of a genesis are sorted and named once"
        raise ConfigError(msg)
    if genesis.engine == "solo" and genesis.sealer not in ids:
        msg = f"the sealer '{genesis.sealer}' is not a founder"
        raise ConfigError(msg)
    if genesis.engine == "cometbft":
        _check_validators(genesis)
    if sum(founder.micros for founder in genesis.founders) >= 2**62:
        msg = "the founders' money does not fit 62 bits"
        raise ConfigError(msg)
    _check_limits(genesis)
    seen: set[bytes] = set()
    for founder in genesis.founders:
        if all(key.role != "owner" for key in founder.keys):
            msg = f"'{founder.id}' has no owner key"
            raise ConfigError(msg)
        for key in founder.keys:
            if key.public in seen:
                msg = f"a key of '{founder.id}' appears twice"
                raise ConfigError(msg)
            seen.add(key.public)
            try:
                keys.check_public(key.public)
            except VerificationError as error:
                msg = f"a key of '{founder.id}' is not a valid Ed25519 point"
                raise ConfigError(msg) from error
