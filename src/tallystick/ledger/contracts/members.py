"""Who takes part: organisations with one seat and one vote each, and their keys.

A key has a role and acts from the block after it was attached. Changes of membership, lost owner
keys, new money and protocol versions are put to the vote of all active members; more than two
thirds decide, and what they decided happens at the end of the block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from tallystick.codec import U8, Hash, Label, Record, decode, encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.errors import RejectedError, VerificationError
from tallystick.ledger.genesis import Key
from tallystick.ledger.messages import Admit, Change, Grant, Remove, ReplaceOwner, Upgrade
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.messages import ProposeChange, RotateKey, Vote

__all__ = [
    "KeyRow",
    "Member",
    "MembershipError",
    "UnknownProposalError",
    "VotedAlreadyError",
    "active_key",
    "active_members",
    "apply_due",
    "found",
    "handle_propose",
    "handle_rotate",
    "handle_vote",
    "key_proof",
    "known_members",
    "protocol",
]

MOST_KEYS = 200


class MembershipError(RejectedError):
    """The change contradicts the membership: unknown or doubled member, key or role."""

    slug: ClassVar[str] = "membership"
    code: ClassVar[int] = 401


class UnknownProposalError(RejectedError):
    """No open proposal has this id."""

    slug: ClassVar[str] = "unknown-proposal"
    code: ClassVar[int] = 402


class VotedAlreadyError(RejectedError):
    """The member has voted for the proposal before."""

    slug: ClassVar[str] = "voted-already"
    code: ClassVar[int] = 403


class KeyRow(Record):
    """A key, its role, and whether it is valid now."""

    public: Hash
    role: str
    active: bool = True


class Member(Record):
    """One organisation; a key's index is its place in ``keys``."""

    keys: Annotated[tuple[KeyRow, ...], msgspec.Meta(max_length=255)]
    active: bool = True


class Proposal(Record):
    """A change under vote and who is for it."""

    change: Change
    votes: tuple[Label, ...]


MEMBERS: Table[Member] = Table(0x01, Member)
ROLL: Table[tuple[str, ...]] = Table(0x02, tuple[Label, ...])
PROPOSALS: Table[Proposal] = Table(0x04, Proposal)
KEY_OWNERS: Table[str] = Table(0x05, Label)
PENDING: Table[tuple[Change, ...]] = Table(0x06, tuple[Change, ...])
PROTOCOL: Table[int] = Table(0x07, U8)
ROTATIONS: Table[tuple[tuple[str, Key], ...]] = Table(0x08, tuple[tuple[Label, Key], ...])
UPGRADES: Table[tuple[Upgrade, ...]] = Table(0x09, tuple[Upgrade, ...])


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
    _check_new_key(state, message.key)
    _check_room(state, context.sender)
    proven = encode((context.sender, message.key.public))
    if not keys.is_valid(message.key.public, b"key/1", context.genesis + proven, message.proof):
        msg = "the new key did not sign its owner's name"
        raise MembershipError(msg)
    queue = state.get(ROTATIONS) or ()
    state.put(ROTATIONS, row=(*queue, (context.sender, message.key)))
    state.put(KEY_OWNERS, message.key.public, row=context.sender)
    return (Event("key-rotated", context.sender),)


def handle_propose(state: State, context: Context, message: ProposeChange) -> tuple[Event, ...]:
    """Open a vote on a change; the sender is for it."""
    _check_change(state, context, message.change)
    proposal = sha256("proposal", encode(message.change))
    if state.get(PROPOSALS, proposal) is not None:
        msg = "this change is under vote already"
        raise VotedAlreadyError(msg)
    state.put(PROPOSALS, proposal, row=Proposal(message.change, (context.sender,)))
    _decide(state, proposal)
    return (Event("proposed", proposal.hex()),)


def handle_vote(state: State, context: Context, message: Vote) -> tuple[Event, ...]:
    """Count the sender's vote."""
    proposal = state.get(PROPOSALS, message.proposal)
    if proposal is None:
        raise UnknownProposalError
    if context.sender in proposal.votes:
        raise VotedAlreadyError
    _check_change(state, context, proposal.change)
    votes = tuple(sorted((*proposal.votes, context.sender)))
    state.put(PROPOSALS, message.proposal, row=Proposal(proposal.change, votes))
    _decide(state, message.proposal)
    return (Event("voted", message.proposal.hex()),)


def apply_due(state: State, height: int) -> tuple[Grant, ...]:
    """Apply what was decided or queued in this block; return the grants for `accounts`."""
    for member, key in state.get(ROTATIONS) or ():
        _attach(state, member, key)
    state.delete(ROTATIONS)
    grants: list[Grant] = []
    for change in state.get(PENDING) or ():
        if isinstance(change, Grant):
            grants.append(change)
        else:
            _apply_change(state, change)
    state.delete(PENDING)
    waiting = state.get(UPGRADES) or ()
    for upgrade in waiting:
        if height >= upgrade.height and upgrade.version > protocol(state):
            state.put(PROTOCOL, row=upgrade.version)
    left = tuple(upgrade for upgrade in waiting if height < upgrade.height)
    if left:
        state.put(UPGRADES, row=left)
    else:
        state.delete(UPGRADES)
    return tuple(grants)


def _decide(state: State, proposal_id: bytes) -> None:
    proposal = state.get(PROPOSALS, proposal_id)
    roll = active_members(state)
    if proposal is None:
        return
    votes = sum(member in roll for member in proposal.votes)
    if votes * 3 > 2 * len(roll):
        state.put(PENDING, row=(*(state.get(PENDING) or ()), proposal.change))
        state.delete(PROPOSALS, proposal_id)


def _apply_change(state: State, change: Admit | Remove | ReplaceOwner | Upgrade) -> None:
    roll = active_members(state)
    match change:
        case Admit():
            rows = tuple(KeyRow(key.public, key.role) for key in change.keys)
            taken = any(state.get(KEY_OWNERS, key.public) is not None for key in rows)
            if taken or state.get(MEMBERS, change.member) is not None:
                return
            state.put(MEMBERS, change.member, row=Member(rows))
            state.put(ROLL, row=tuple(sorted({*roll, change.member})))
            for key in rows:
                state.put(KEY_OWNERS, key.public, row=change.member)
        case Remove():
            row = state.get(MEMBERS, change.member)
            if row is None or len(roll) == 1:
                return
            state.put(MEMBERS, change.member, row=Member(row.keys, active=False))
            state.put(ROLL, row=tuple(member for member in roll if member != change.member))
        case ReplaceOwner():
            if state.get(KEY_OWNERS, change.key.public) is None:
                _attach(state, change.member, change.key)
        case Upgrade():
            state.put(UPGRADES, row=(*(state.get(UPGRADES) or ()), change))


def _attach(state: State, member: str, key: Key) -> None:
    row = state.get(MEMBERS, member)
    if row is None or len(row.keys) >= MOST_KEYS:
        return
    kept = tuple(
        KeyRow(old.public, old.role, old.active and old.role != key.role) for old in row.keys
    )
    attached = (*kept, KeyRow(key.public, key.role))
    state.put(MEMBERS, member, row=Member(attached, row.active))
    state.put(KEY_OWNERS, key.public, row=member)


def _check_new_key(state: State, key: Key) -> None:
    try:
        keys.check_public(key.public)
    except VerificationError as error:
        msg = "not a valid Ed25519 point"
        raise MembershipError(msg) from error
    if state.get(KEY_OWNERS, key.public) is not None:
        msg = "the key belongs to a member already"
        raise MembershipError(msg)


def _check_room(state: State, member: str) -> None:
    row = state.get(MEMBERS, member)
    queued = sum(name == member for name, _ in state.get(ROTATIONS) or ())
    if row is not None and len(row.keys) + queued >= MOST_KEYS:
        msg = f"'{member}' has had {MOST_KEYS} keys; a new member can take its place"
        raise MembershipError(msg)


def _check_change(  # noqa: C901 - a list of independent refusals
    state: State, context: Context, change: Change
) -> None:
    match change:
        case Admit():
            if all(key.role != "owner" for key in change.keys):
                msg = f"'{change.member}' needs an owner key"
                raise MembershipError(msg)
            if state.get(MEMBERS, change.member) is not None:
                msg = f"'{change.member}' is or was a member"
                raise MembershipError(msg)
            if len({key.public for key in change.keys}) != len(change.keys):
                msg = "a key appears twice"
                raise MembershipError(msg)
            for key in change.keys:
                _check_new_key(state, key)
        case Upgrade():
            if change.version <= protocol(state):
                msg = f"protocol version {change.version} is not ahead of the present one"
                raise MembershipError(msg)
        case _:
            if change.member not in active_members(state):
                msg = f"'{change.member}' is not an active member"
                raise MembershipError(msg)
            if isinstance(change, ReplaceOwner):
                if change.key.role != "owner":
                    msg = "a vote replaces a lost owner key, no other"
                    raise MembershipError(msg)
                _check_new_key(state, change.key)
                _check_room(state, change.member)
            if isinstance(change, Remove) and change.member == context.sealer:
                msg = f"'{change.member}' seals this ledger and cannot leave it"
                raise MembershipError(msg)
