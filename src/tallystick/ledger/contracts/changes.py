"""What members decide together: who takes part, who validates, lost keys, money, new protocols.

A change is put to the vote of all active members; more than two thirds decide, and what they
decided happens at the end of the block. It is checked when it is proposed, at every vote, and once
more when it is applied, since another decision of the same block may have come before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import Label, Record, encode
from tallystick.crypto.hashes import sha256
from tallystick.errors import RejectedError
from tallystick.ledger.contracts import validators
from tallystick.ledger.contracts.members import (
    KEY_OWNERS,
    MEMBERS,
    PROTOCOL,
    ROLL,
    KeyRow,
    Member,
    MembershipError,
    active_members,
    attach_key,
    attach_rotated,
    check_new_key,
    check_room,
    protocol,
)
from tallystick.ledger.messages import (
    Admit,
    Change,
    Grant,
    Remove,
    ReplaceOwner,
    Seat,
    Unseat,
    Upgrade,
)
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import ProposeChange, Vote

__all__ = [
    "Proposal",
    "UnknownProposalError",
    "VotedAlreadyError",
    "apply_due",
    "handle_propose",
    "handle_vote",
    "upcoming",
]


class UnknownProposalError(RejectedError):
    """No open proposal has this id."""

    slug: ClassVar[str] = "unknown-proposal"
    code: ClassVar[int] = 402


class VotedAlreadyError(RejectedError):
    """The member has voted for the proposal before."""

    slug: ClassVar[str] = "voted-already"
    code: ClassVar[int] = 403


class Proposal(Record):
    """A change under vote and who is for it."""

    change: Change
    votes: tuple[Label, ...]


PROPOSALS: Table[Proposal] = Table(0x04, Proposal)
PENDING: Table[tuple[Change, ...]] = Table(0x06, tuple[Change, ...])
UPGRADES: Table[tuple[Upgrade, ...]] = Table(0x09, tuple[Upgrade, ...])


def upcoming(state: State) -> tuple[tuple[int, int], ...]:
    """Return the versions that were decided on and are not in force yet, the next one first.

    Each with the last height under the version before it. One that will have been overtaken by
    then is left out.
    """
    found: list[tuple[int, int]] = []
    newest = protocol(state)
    waiting = state.get(UPGRADES) or ()
    for each in sorted(waiting, key=lambda upgrade: (upgrade.height, -upgrade.version)):
        if each.version > newest:
            found.append((each.version, each.height))
            newest = each.version
    return tuple(found)


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
    attach_rotated(state)
    grants: list[Grant] = []
    for change in state.get(PENDING) or ():
        if isinstance(change, Grant):
            grants.append(change)
        else:
            _apply_change(state, change)
    state.delete(PENDING)
    _upgrade(state, height)
    return tuple(grants)


def _upgrade(state: State, height: int) -> None:
    """Let blocks after this one run what was voted for it, or for a height before it."""
    waiting = state.get(UPGRADES) or ()
    for upgrade in waiting:
        if height >= upgrade.height and upgrade.version > protocol(state):
            state.put(PROTOCOL, row=upgrade.version)
    left = tuple(upgrade for upgrade in waiting if height < upgrade.height)
    if left:
        state.put(UPGRADES, row=left)
    else:
        state.delete(UPGRADES)


def _decide(state: State, proposal_id: bytes) -> None:
    proposal = state.get(PROPOSALS, proposal_id)
    roll = active_members(state)
    if proposal is None:
        return
    votes = sum(member in roll for member in proposal.votes)
    if votes * 3 > 2 * len(roll):
        state.put(PENDING, row=(*(state.get(PENDING) or ()), proposal.change))
        state.delete(PROPOSALS, proposal_id)


def _apply_change(
    state: State, change: Admit | Remove | ReplaceOwner | Upgrade | Seat | Unseat
) -> None:
    match change:
        case Admit():
            _admit(state, change)
        case Remove():
            _remove(state, change.member)
        case ReplaceOwner():
            if state.get(KEY_OWNERS, change.key.public) is None:
                attach_key(state, change.member, change.key)
        case Upgrade():
            state.put(UPGRADES, row=(*(state.get(UPGRADES) or ()), change))
        case Seat():
            if not validators.seat_problem(state, change.member):
                validators.seat(state, change.member)
        case Unseat():
            if not validators.unseat_problem(state, change.member):
                validators.unseat(state, change.member)


def _admit(state: State, change: Admit) -> None:
    rows = tuple(KeyRow(key.public, key.role) for key in change.keys)
    taken = any(state.get(KEY_OWNERS, key.public) is not None for key in rows)
    if taken or state.get(MEMBERS, change.member) is not None:
        return
    state.put(MEMBERS, change.member, row=Member(rows))
    state.put(ROLL, row=tuple(sorted({*active_members(state), change.member})))
    for key in rows:
        state.put(KEY_OWNERS, key.public, row=change.member)


def _remove(state: State, member: str) -> None:
    roll, row = active_members(state), state.get(MEMBERS, member)
    if row is None or len(roll) == 1 or validators.is_last(state, member):
        return
    state.put(MEMBERS, member, row=Member(row.keys, active=False))
    state.put(ROLL, row=tuple(name for name in roll if name != member))
    validators.unseat(state, member)


def _check_change(state: State, context: Context, change: Change) -> None:
    match change:
        case Admit():
            _check_admit(state, change)
        case Upgrade():
            if change.version <= protocol(state):
                msg = f"protocol version {change.version} is not ahead of the present one"
                raise MembershipError(msg)
        case _:
            if change.member not in active_members(state):
                msg = f"'{change.member}' is not an active member"
                raise MembershipError(msg)
            _check_about(state, context, change)


def _check_admit(state: State, change: Admit) -> None:
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
        check_new_key(state, key)


def _check_about(
    state: State, context: Context, change: Remove | ReplaceOwner | Grant | Seat | Unseat
) -> None:
    """Refuse a change about an active member that this one cannot undergo."""
    problem = ""
    match change:
        case ReplaceOwner():
            if change.key.role != "owner":
                msg = "a vote replaces a lost owner key, no other"
                raise MembershipError(msg)
            check_new_key(state, change.key)
            check_room(state, change.member)
        case Remove():
            if change.member == context.sealer:
                problem = f"'{change.member}' seals this ledger and cannot leave it"
            elif validators.is_last(state, change.member):
                problem = f"'{change.member}' is the last validator; seat another one first"
        case Seat():
            problem = validators.seat_problem(state, change.member)
        case Unseat():
            problem = validators.unseat_problem(state, change.member)
        case Grant():
            pass
    if problem:
        raise MembershipError(problem)
