"""What a verifier brings along: the genesis it trusts, checkpoints, roots, as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tallystick.errors import ConfigError, DecodeError
from tallystick.ledger.genesis import Genesis, genesis_hash, load_genesis
from tallystick.provenance.execution import Checkpoint

__all__ = ["Anchor", "GenesisLike", "parse_checkpoint", "parse_genesis", "parse_root"]

GenesisLike = "str | bytes | Path | Genesis"
LINE = re.compile(r"^(?:([a-z0-9][a-z0-9-]{0,31})\+)?([0-9a-f]{64})$")
ROOT = re.compile(r"^[0-9a-f]{64}$")
CHECKPOINT = re.compile(r"^([0-9]{1,18}):([0-9a-f]{64})$")
HASH_BYTES = 32
MOST_BYTES = 1 << 24
HINT = "each organisation publishes the line that `tally network card` prints: NAME+HEX"


@dataclass(frozen=True, slots=True)
class Anchor:
    """The hash of a trusted genesis, and the network's name if it was given."""

    genesis: bytes
    name: str = ""


def parse_genesis(given: str | bytes | Path | Genesis) -> Anchor:
    """Return the anchor in a hash, a published line, a genesis, or a file with one of these.

    Raises
    ------
    ConfigError
        It is none of them, or the file cannot be read.
    """
    if isinstance(given, Genesis):
        return Anchor(genesis_hash(given), given.name)
    if isinstance(given, bytes):
        return Anchor(given) if len(given) == HASH_BYTES else _from_bytes(given)
    if isinstance(given, str) and (found := LINE.match(given.strip())):
        return Anchor(bytes.fromhex(found[2]), found[1] or "")
    try:
        with Path(given).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        msg = f"'{given}' is no genesis: neither 64 hexadecimal digits, NAME+HEX, nor a file"
        raise ConfigError(msg, hint=HINT) from error
    return _from_bytes(data)


def parse_checkpoint(text: str | Checkpoint) -> Checkpoint:
    """Return height and hash of ``HEIGHT:HASH``.

    Raises
    ------
    ConfigError
        It is written otherwise.
    """
    if not isinstance(text, str):
        return text
    found = CHECKPOINT.match(text.strip())
    if found is None:
        msg = f"'{text}' is no checkpoint: HEIGHT:HASH, the hash of 64 hexadecimal digits"
        raise ConfigError(msg)
    return int(found[1]), bytes.fromhex(found[2])


def parse_root(given: str | bytes) -> bytes:
    """Return the root of an update or model written as 64 hexadecimal digits.

    Raises
    ------
    ConfigError
        It is written otherwise.
    """
    if isinstance(given, bytes):
        if len(given) == HASH_BYTES:
            return given
    elif ROOT.match(given.strip().lower()):
        return bytes.fromhex(given.strip())
    msg = f"'{given!s}' is no root: 64 hexadecimal digits"
    raise ConfigError(msg)


def _from_bytes(data: bytes) -> Anchor:
    try:
        genesis = load_genesis(data)
    except DecodeError:
        pass
    else:
        return Anchor(genesis_hash(genesis), genesis.name)
    try:
        found = LINE.match(data.decode("ascii").strip())
    except UnicodeDecodeError:
        found = None
    if found is None:
        msg = "the genesis file holds neither a genesis nor a line NAME+HEX"
        raise ConfigError(msg, hint=HINT)
    return Anchor(bytes.fromhex(found[2]), found[1] or "")
