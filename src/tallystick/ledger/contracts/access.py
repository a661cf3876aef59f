"""Who may do what: read a task's models, and read, update or delete what a pointer names.

A task's models are read by its own members and by whoever paid its fee, which goes to the members
in equal parts; the remainder of the division goes to the owner. What a pointer names is for its
owner, and for whoever holds a capability token: one member, one digest, one verb, until a time.
Attempts without a right are recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from tallystick.codec import U63
from tallystick.errors import RejectedError
from tallystick.ledger.collect.rows import TASKS, TERMS
from tallystick.ledger.contracts import accounts, registry
from tallystick.ledger.contracts.members import active_members
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import BuyAccess, GrantToken, Read, RevokeToken, Verb

__all__ = [
    "AccessError",
    "NoAccessError",
    "NoTokenError",
    "TokenError",
    "check_access",
    "check_right",
    "handle_buy",
    "handle_grant",
    "handle_read",
    "handle_revoke",
    "has_access",
    "has_right",
]


class AccessError(RejectedError):
    """Nothing to buy: no such task, access held already, or a fee above the stated budget."""

    slug: ClassVar[str] = "access"
    code: ClassVar[int] = 431


class NoAccessError(RejectedError):
    """The reader is no party to the task and has not paid its fee."""

    slug: ClassVar[str] = "no-access"
    code: ClassVar[int] = 432


class NoTokenError(RejectedError):
    """The sender does not own what the pointer names and holds no valid token for this verb."""

    slug: ClassVar[str] = "no-token"
    code: ClassVar[int] = 433
    recorded: ClassVar[bool] = True


class TokenError(RejectedError):
    """No such token to revoke, nobody to grant it to, no time to use it in, or no new bytes."""

    slug: ClassVar[str] = "token"
    code: ClassVar[int] = 434


READERS: Table[int] = Table(0x38, U63)
TOKENS: Table[int] = Table(0x39, U63)  # by digest, subject and verb: the last time it is good at


def has_access(state: State, task: bytes, reader: str) -> bool:
    """Whether ``reader`` may read the task's models: a party, or somebody who paid."""
    terms = state.get(TERMS, task)
    if terms is None:
        return False
    return reader in terms.parties or state.get(READERS, task, reader) is not None


def check_access(state: State, task: bytes, reader: str) -> None:
    """Refuse a reader without access.

    Raises
    ------
    NoAccessError
        Neither a party to the task nor paid.
    """
    if not has_access(state, task, reader):
        msg = f"'{reader}' has not paid to read this task's models"
        raise NoAccessError(msg)


def handle_buy(state: State, context: Context, message: BuyAccess) -> tuple[Event, ...]:
    """Take the fee and open the task's models to the sender."""
    terms = state.get(TERMS, message.task)
    if terms is None or state.get(TASKS, message.task) is None:
        msg = "no such task"
        raise AccessError(msg)
    if has_access(state, message.task, context.sender):
        msg = "access is held already"
        raise AccessError(msg)
    if terms.read_fee > message.budget:
        msg = f"the fee is {terms.read_fee}, the budget {message.budget}"
        raise AccessError(msg)
    receivers = terms.roster("members")
    share, rest = divmod(terms.read_fee, len(receivers))
    for member in receivers:
        micros = share + (rest if member == terms.owner else 0)
        accounts.move(state, context.sender, member, micros)
    if terms.owner not in receivers:
        accounts.move(state, context.sender, terms.owner, rest)
    state.put(READERS, message.task, context.sender, row=terms.read_fee)
    return (Event("access", message.task.hex(), terms.read_fee),)


def has_right(state: State, digest: bytes, subject: str, verb: Verb, time: int) -> bool:
    """Whether ``subject`` owns what the pointer names, or has a token for the verb at ``time``."""
    if registry.pointer(state, digest).owner == subject:
        return True
    expires = state.get(TOKENS, digest, subject, verb)
    return expires is not None and time <= expires


def check_right(state: State, context: Context, digest: bytes, verb: Verb) -> registry.Pointer:
    """Return the pointer if the sender may do ``verb`` to what it names, and it is not erased.

    Raises
    ------
    UnknownPointerError, SpentPointerError
        There is nothing to do anything to.
    NoTokenError
        The sender is not its owner and has no token, or one that expired or was revoked.
    """
    row = registry.pointer(state, digest)
    if not has_right(state, digest, context.sender, verb, context.time):
        msg = f"'{context.sender}' has no token to {verb} this"
        raise NoTokenError(msg)
    return _unerased(row)


def handle_grant(state: State, context: Context, message: GrantToken) -> tuple[Event, ...]:
    """Give a token, or another expiry to one that was given."""
    row = _own(state, context, message.digest)
    if message.subject == row.owner or message.subject not in active_members(state):
        msg = f"'{message.subject}' needs no token or is no active member"
        raise TokenError(msg)
    if message.expires <= context.time:
        msg = f"a token until {message.expires} has expired at {context.time}"
        raise TokenError(msg)
    key = (message.digest, message.subject, message.verb)
    state.put(TOKENS, *key, row=message.expires)
    return (Event(f"token-{message.verb}", message.subject, message.expires),)


def handle_revoke(state: State, context: Context, message: RevokeToken) -> tuple[Event, ...]:
    """Take a token back and point at the bytes as they are encrypted now."""
    row = _own(state, context, message.digest)
    key = (message.digest, message.subject, message.verb)
    if state.get(TOKENS, *key) is None:
        msg = f"'{message.subject}' has no token to {message.verb} this"
        raise TokenError(msg)
    if message.stored == row.stored:
        msg = "the bytes have to be encrypted anew, under a key the subject never had"
        raise TokenError(msg)
    state.delete(TOKENS, *key)
    rotated = msgspec.structs.replace(
        row, stored=message.stored, stored_size=message.stored_size, keys=row.keys + 1
    )
    registry.put_pointer(state, message.digest, rotated)
    return (Event("revoked", message.subject, rotated.keys),)


def handle_read(state: State, context: Context, message: Read) -> tuple[Event, ...]:
    """Record that the sender reads; the receipt is what the key's holder acts on."""
    row = check_right(state, context, message.digest, "read")
    return (Event("read", message.digest.hex(), row.keys),)


def _own(state: State, context: Context, digest: bytes) -> registry.Pointer:
    """Return a pointer that the sender owns and that is not erased."""
    row = registry.pointer(state, digest)
    if row.owner != context.sender:
        msg = f"'{context.sender}' does not own this"
        raise NoTokenError(msg)
    return _unerased(row)


def _unerased(row: registry.Pointer) -> registry.Pointer:
    if row.erased:
        msg = "it was erased"
        raise registry.SpentPointerError(msg)
    return row
