"""A signed request: who, by which key, in what order, until when, and what.

The signature covers a domain tag, the genesis hash and the raw body, so a transaction means nothing
on another ledger. Nonces rise but may skip; expiry is mandatory and bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from tallystick.codec import MAX_U63, U8, U63, Label, Record, Signature, decode, encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.errors import DecodeError, RejectedError
from tallystick.ledger.contracts import members
from tallystick.ledger.messages import Message
from tallystick.ledger.state import State, Table

if TYPE_CHECKING:
    from tallystick.ledger.genesis import Limits

__all__ = [
    "BadNonceError",
    "BadSignatureError",
    "Body",
    "ExpiredError",
    "InvalidTransactionError",
    "MalformedError",
    "SignedTransaction",
    "Transaction",
    "UnknownSenderError",
    "check_transaction",
    "last_nonce",
    "parse_transaction",
    "sign_transaction",
    "spend_nonce",
    "transaction_hash",
    "verify_signature",
]

DOMAIN = b"transaction/1"
MOST_VERIFIED = 1 << 15
_verified: set[tuple[bytes, bytes, bytes]] = set()
NONCES: Table[int] = Table(0x03, Annotated[int, msgspec.Meta(ge=0, le=MAX_U63)])


class InvalidTransactionError(RejectedError):
    """The envelope is refused; nothing was executed."""

    slug: ClassVar[str] = "invalid-transaction"
    code: ClassVar[int] = 100


class MalformedError(InvalidTransactionError):
    """The bytes are no canonical transaction, or too many."""

    slug: ClassVar[str] = "malformed-transaction"
    code: ClassVar[int] = 101


class UnknownSenderError(InvalidTransactionError):
    """The sender is no member, or the key is not valid for it now."""

    slug: ClassVar[str] = "unknown-sender"
    code: ClassVar[int] = 102


class BadSignatureError(InvalidTransactionError):
    """The signature does not verify under the sender's key on this ledger."""

    slug: ClassVar[str] = "bad-signature"
    code: ClassVar[int] = 103


class BadNonceError(InvalidTransactionError):
    """The nonce does not exceed the key's last accepted one: sent before, or out of order."""

    slug: ClassVar[str] = "bad-nonce"
    code: ClassVar[int] = 104


class ExpiredError(InvalidTransactionError):
    """Past its expiry, or the expiry is further ahead than the ledger allows."""

    slug: ClassVar[str] = "expired"
    code: ClassVar[int] = 105


class Body(Record):
    """What is signed. ``key`` is the index of the sender's key; ``nonce`` rises per key."""

    sender: Label
    key: U8
    nonce: U63
    valid_until: U63
    message: Message


class SignedTransaction(Record):
    """The wire form: the raw body and the signature over it."""

    body: Annotated[bytes, msgspec.Meta(max_length=64 * 1024)]
    signature: Signature


@dataclass(frozen=True, slots=True)
class Transaction:
    """A decoded transaction with its bytes."""

    wire: bytes
    raw_body: bytes
    body: Body
    signature: bytes
    hash: bytes  # identity of the transaction: hash of its wire form

    @property
    def order(self) -> tuple[str, int, int]:
        """The canonical order within a block: member, key, nonce."""
        return (self.body.sender, self.body.key, self.body.nonce)


def transaction_hash(wire: bytes) -> bytes:
    """Return the identity of a transaction: the hash of its wire form."""
    return sha256("transaction", wire)


def sign_transaction(body: Body, secret: bytes, genesis: bytes) -> Transaction:
    """Return ``body`` signed for the ledger whose genesis hash is ``genesis``."""
    raw = encode(body)
    signature = keys.sign(secret, DOMAIN, genesis + raw)
    wire = encode(SignedTransaction(raw, signature))
    return Transaction(wire, raw, body, signature, transaction_hash(wire))


def parse_transaction(wire: bytes, limits: Limits) -> Transaction:
    """Decode ``wire``.

    Raises
    ------
    MalformedError
        Too large, or not canonical.
    """
    if len(wire) > limits.transaction_bytes:
        msg = f"a transaction of {len(wire)} bytes; {limits.transaction_bytes} are allowed"
        raise MalformedError(msg)
    try:
        signed = decode(SignedTransaction, wire)
        body = decode(Body, signed.body)
    except DecodeError as error:
        raise MalformedError(str(error)) from error
    return Transaction(wire, signed.body, body, signed.signature, transaction_hash(wire))


def check_transaction(
    state: State, tx: Transaction, time: int, genesis: bytes, limits: Limits
) -> None:
    """Check the envelope against the state, without changing it.

    Raises
    ------
    InvalidTransactionError
        Unknown sender, bad signature, spent nonce or expired, each with its code.
    """
    body = tx.body
    key = members.active_key(state, body.sender, body.key)
    if key is None:
        msg = f"'{body.sender}' has no valid key {body.key}"
        raise UnknownSenderError(msg)
    if not time <= body.valid_until <= time + limits.validity:
        msg = f"valid until {body.valid_until}, the block is at {time}"
        raise ExpiredError(msg)
    last = state.get(NONCES, body.sender, body.key)
    if last is not None and body.nonce <= last:
        msg = f"nonce {body.nonce}; the last accepted one is {last}"
        raise BadNonceError(msg)
    if not _is_signed(tx, key.public, genesis):
        raise BadSignatureError


def verify_signature(state: State, tx: Transaction, genesis: bytes) -> bool:
    """Return whether a valid key of the sender signed; `check_transaction` asks this once more.

    It can be asked ahead and in other threads, since what is found out is remembered.
    """
    key = members.active_key(state, tx.body.sender, tx.body.key)
    return key is not None and _is_signed(tx, key.public, genesis)


def _is_signed(tx: Transaction, public: bytes, genesis: bytes) -> bool:
    """Verify once what admission, proposal and acceptance all ask; remember it by a hash."""
    verified = (tx.hash, public, genesis)  # the hash is of the signature, too
    if verified in _verified:
        return True
    if not keys.is_valid(public, DOMAIN, genesis + tx.raw_body, tx.signature):
        return False
    if len(_verified) >= MOST_VERIFIED:
        _verified.clear()  # at once, whoever else asks
    _verified.add(verified)
    return True


def spend_nonce(state: State, tx: Transaction) -> None:
    """Record the transaction's nonce as its key's last."""
    state.put(NONCES, tx.body.sender, tx.body.key, row=tx.body.nonce)


def last_nonce(state: State, sender: str, key: int) -> int:
    """Return a key's last accepted nonce, 0 before its first."""
    return state.get(NONCES, sender, key) or 0
