"""A member's card: its name and public keys, to hand to the others before there is a ledger.

Every key on a card signs the whole of it, so nobody puts another's key on its card or changes a
card on its way. That it comes from whom it names, people make sure of by reading its fingerprint
to each other.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from tallystick.codec import U8, Label, Record, Signature, decode, encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.errors import DecodeError, VerificationError
from tallystick.federation.armour import armour, read_small, unarmour, write_new
from tallystick.federation.trial import ROLES
from tallystick.ledger.genesis import Key
from tallystick.storage.files import open_regular

if TYPE_CHECKING:
    from tallystick.federation.keyring import Keyring

__all__ = [
    "Card",
    "card_fingerprint",
    "check_card",
    "fingerprint",
    "load_card",
    "make_card",
    "save_card",
]

KIND = "tally-card-1"
DOMAIN = b"card/1"
VERSION = 1
FINGERPRINT_BYTES = 16
GROUP = 4
HINT = "name the NAME.card that a member's `tally key new` wrote"


class Card(Record):
    """Who a member is: its name, its public keys with roles, and each key's signature over both."""

    version: U8
    name: Label
    keys: Annotated[tuple[Key, ...], msgspec.Meta(min_length=1, max_length=16)]
    proofs: Annotated[tuple[Signature, ...], msgspec.Meta(min_length=1, max_length=16)]


def make_card(keyring: Keyring) -> Card:
    """Return the card of a member with the newest key of each role."""
    held = tuple(Key(keyring.public(role), role) for role in ROLES)
    said = _said(keyring.name, held)
    proofs = tuple(keys.sign(keyring.secrets(role)[-1], DOMAIN, said) for role in ROLES)
    return Card(VERSION, keyring.name, held, proofs)


def check_card(card: Card) -> None:
    """Check that each key is a valid point, is there once, and signed this very card.

    Raises
    ------
    DecodeError
        Another version, or not one signature a key, or no owner key.
    VerificationError
        A key is none, or did not sign.
    """
    if card.version != VERSION:
        msg = f"the card has version {card.version}, not {VERSION}"
        raise DecodeError(msg, hint="another release wrote it")
    if not len(card.proofs) == len(card.keys) == len({key.public for key in card.keys}):
        msg = "the card does not have each key once with one signature"
        raise DecodeError(msg)
    if all(key.role != "owner" for key in card.keys):
        msg = "the card has no owner key"
        raise DecodeError(msg)
    said = _said(card.name, card.keys)
    for key, proof in zip(card.keys, card.proofs, strict=True):
        keys.check_public(key.public)
        if not keys.is_valid(key.public, DOMAIN, said, proof):
            msg = f"the {key.role} key on the card of '{card.name}' did not sign it"
            raise VerificationError(msg, hint="ask its owner for the card again")


def card_fingerprint(card: Card) -> str:
    """Return what people compare over the telephone: see `fingerprint`."""
    return fingerprint(card.name, card.keys)


def fingerprint(name: str, held: tuple[Key, ...]) -> str:
    """Return 8 groups of 4 hexadecimal digits for a member with these keys.

    It covers name, keys and roles, and not a card's signatures, so a founder has in the genesis
    the one it has on its card.
    """
    digits = sha256("card", _said(name, held))[:FINGERPRINT_BYTES].hex()
    return " ".join(digits[at : at + GROUP] for at in range(0, len(digits), GROUP))


def save_card(path: Path, card: Card) -> None:
    """Write a card as text; an equal one that is there already stays.

    Raises
    ------
    ConfigError
        The file holds something else; it is not overwritten.
    UnavailableError
        The disk is full or failed.
    OSError
        The file cannot be made.
    """
    write_new(path, armour(KIND, card.name, encode(card)))


def load_card(path: Path) -> Card:
    """Read a card and check everything on it.

    Raises
    ------
    ConfigError
        The file cannot be read.
    DecodeError
        It is no card, or damaged; the message names the file.
    VerificationError
        A key on it did not sign it; the message names the file.
    """
    with closing(open_regular(path, HINT)) as file:
        data = read_small(file, path)
    try:
        return _parse(data)
    except (DecodeError, VerificationError) as error:
        kind = DecodeError if isinstance(error, DecodeError) else VerificationError
        msg = f"{path}: {error}"
        raise kind(msg, hint=error.hint or "ask its owner for the card again") from error


def _parse(data: bytes) -> Card:
    name, body = unarmour(KIND, data)
    card = decode(Card, body)
    if card.name != name:
        msg = f"the card of '{card.name}' has the header of another"
        raise DecodeError(msg)
    check_card(card)
    return card


def _said(name: str, held: tuple[Key, ...]) -> bytes:
    """Return what a card says and its keys sign."""
    return encode((VERSION, name, held))
