"""Who takes part: organisations with one vote each, and their keys.

A key has a role and acts from the block after it was attached. What members decide together is in
`changes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from tallystick.codec import U8, Hash, Label, Record, decode, encode
from tallystick.crypto import keys
from tallystick.errors import RejectedError, VerificationError
from tallystick.ledger.genesis import Key
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.messages import RotateKey

__all__ = [
    "KeyRow",
    "Member",
    "MembershipError",
    "active_key",
    "active_members",
    "attach_key",
    "attach_rotated",
    "check_new_key",
    "check_room",
    "found",
    "handle_rotate",
    "key_proof",
    "known_members",
    "protocol",
    "retire_key",
]

MOST_KEYS = 200


class MembershipError(RejectedError):
    """The change contradicts the membership: unknown or doubled member, key or role."""

    slug: ClassVar[str] = "membership"
    code: ClassVar[int] = 401


class KeyRow(Record):
    """A key, its role, and whether it is valid now."""

    public: Hash
    role: str
    active: bool = True


class Member(Record):
    """One organisation; a key's index is its place in ``keys``."""

    keys: Annotated[tuple[KeyRow, ...], msgspec.Meta(max_length=255)]
    active: bool = True


MEMBERS: Table[Member] = Table(0x01, Member)
ROLL: Table[tuple[str, ...]] = Table(0x02, tuple[Label, ...])
KEY_OWNERS: Table[str] = Table(0x05, Label)
PROTOCOL: Table[int] = Table(0x07, U8)
ROTATIONS: Table[tuple[tuple[str, Key], ...]] = Table(0x08, tuple[tuple[Label, Key], ...])


def found(state: State, genesis: Genesis) -> None:
    """Write the founders."""
    state.put(ROLL, row=tuple(founder.id for founder in genesis.founders))
    state.put(PROTOCOL, row=genesis.protocol)
    for founder in genesis.founders:
        rows = tuple(KeyRow(key.public, key.role) for key in founder.keys)
        state.put(MEMBERS, founder.id, row=Member(rows))
        for key in rows:
            state.put(KEY_OWNERS, key.public, row=founder.id)


def protocol(state: State) -> int:
    """Return the protocol version in force."""
    return state.get(PROTOCOL) or 0


def active_members(state: State) -> tuple[str, ...]:
    """Return the active members, sorted."""
    return state.get(ROLL) or ()


def known_members(state: State) -> dict[str, Member]:
    """Return everybody who is or was a member, by name."""
    return {decode(tuple[Label], key[1:])[0]: row for key, row in state.rows_of(MEMBERS)}


def active_key(state: State, member: str, index: int) -> KeyRow | None:
    """Return the key if member and key are valid now."""
    row = state.get(MEMBERS, member)
    if row is None or not row.active or index >= len(row.keys):
        return None
    key = row.keys[index]
    return key if key.active else None


def key_proof(secret: bytes, member: str, public: bytes, genesis: bytes) -> bytes:
    """Return the new key's own signature over its owner, so that nobody attaches another's."""
    return keys.sign(secret, b"key/1", genesis + encode((member, public)))


def handle_rotate(state: State, context: Context, message: RotateKey) -> tuple[Event, ...]:
    """Queue the sender's new key; it replaces the role's old keys after this block."""
    check_new_key(state, message.key)
    check_room(state, context.sender)
    proven = encode((context.sender, message.key.public))
    if not keys.is_valid(message.key.public, b"key/1", context.genesis + proven, message.proof):
        msg = "the new key did not sign its owner's name"
        raise MembershipError(msg)
    queue = state.get(ROTATIONS) or ()
    state.put(ROTATIONS, row=(*queue, (context.sender, message.key)))
    state.put(KEY_OWNERS, message.key.public, row=context.sender)
    return (Event("key-rotated", context.sender),)


def attach_rotated(state: State) -> None:
    """Attach the keys that members queued in this block, in order."""
    for member, key in state.get(ROTATIONS) or ():
        attach_key(state, member, key)
    state.delete(ROTATIONS)


def attach_key(state: State, member: str, key: Key) -> None:
    """Append a key and let the role's others be valid no more; nothing without room for it."""
    row = state.get(MEMBERS, member)
    if row is None or len(row.keys) >= MOST_KEYS:
        return
    kept = tuple(
        KeyRow(old.public, old.role, old.active and old.role != key.role) for old in row.keys
    )
    attached = (*kept, KeyRow(key.public, key.role))
    state.put(MEMBERS, member, row=Member(attached, row.active))
    state.put(KEY_OWNERS, key.public, row=member)


def retire_key(state: State, member: str, public: bytes) -> None:
    """Let a member's key be valid no more; it stays the member's, so that nobody attaches it."""
    row = state.get(MEMBERS, member)
    if row is None:
        return
    kept = tuple(
        KeyRow(key.public, key.role, key.active and key.public != public) for key in row.keys
    )
    state.put(MEMBERS, member, row=Member(kept, row.active))


def check_new_key(state: State, key: Key) -> None:
    """Refuse a key that every verifier would not treat alike, or that belongs to somebody.

    Raises
    ------
    MembershipError
        Says which.
    """
    try:
        keys.check_public(key.public)
    except VerificationError as error:
        msg = "not a valid Ed25519 point"
        raise MembershipError(msg) from error
    if state.get(KEY_OWNERS, key.public) is not None:
        msg = "the key belongs to a member already"
        raise MembershipError(msg)


def check_room(state: State, member: str) -> None:
    """Refuse a further key for a member that has had too many.

    Raises
    ------
    MembershipError
        Says how many.
    """
    row = state.get(MEMBERS, member)
    queued = sum(name == member for name, _ in state.get(ROTATIONS) or ())
    if row is not None and len(row.keys) + queued >= MOST_KEYS:
        msg = f"'{member}' has had {MOST_KEYS} keys; a new member can take its place"
        raise MembershipError(msg)
