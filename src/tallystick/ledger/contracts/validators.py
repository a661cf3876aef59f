"""Who orders blocks under CometBFT: members with a seat, each by its newest validator key.

Seats are given and taken by vote, all with the same power. One is lost by proof, too: who signs two
votes of one height, round and kind for different blocks loses the seat, the key and a tenth of its
free money. A last seat is never taken, since an empty set orders nothing, for good. Under other
engines there are no seats and no rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import U63, Hash, Label, Record
from tallystick.crypto.votes import is_vote_of
from tallystick.errors import RejectedError
from tallystick.ledger.contracts import accounts
from tallystick.ledger.contracts.members import MEMBERS, active_members, retire_key
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tallystick.ledger.context import Context
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.messages import Equivocate

__all__ = [
    "EQUIVOCATION_FORFEIT_BPS",
    "POWER",
    "Conviction",
    "EvidenceError",
    "faults_of",
    "found",
    "founding_seats",
    "handle_equivocate",
    "is_last",
    "seat",
    "seat_problem",
    "seats",
    "unseat",
    "unseat_problem",
    "validator_keys",
    "validator_set",
    "validator_updates",
]

POWER = 10
EQUIVOCATION_FORFEIT_BPS = 1000
BPS = 10_000


class EvidenceError(RejectedError):
    """The two votes do not convict: not at odds, not signed by a valid key, or used before."""

    slug: ClassVar[str] = "evidence"
    code: ClassVar[int] = 404


class Conviction(Record):
    """Which key signed both votes, the block that holds the proof, and what it cost."""

    public: Hash
    height: U63
    micros: U63


VALIDATORS: Table[tuple[str, ...]] = Table(0x0A, tuple[Label, ...])
EQUIVOCATIONS: Table[Conviction] = Table(0x0B, Conviction)


def found(state: State, genesis: Genesis) -> None:
    """Seat every founder with a validator key; under other engines write nothing."""
    if genesis.engine == "cometbft":
        state.put(VALIDATORS, row=founding_seats(genesis))


def founding_seats(genesis: Genesis) -> tuple[str, ...]:
    """Return the founders that have a validator key, sorted: who validates under CometBFT."""
    return tuple(sorted(each.id for each in genesis.founders if each.validator is not None))


def seats(state: State) -> tuple[str, ...]:
    """Return the members that validate, sorted; none under other engines."""
    return state.get(VALIDATORS) or ()


def faults_of(count: int) -> int:
    """Return how many of so many validators may fail or lie while the others still agree."""
    return max(0, (count - 1) // 3)


def validator_set(state: State) -> dict[str, bytes]:
    """Return each validating member's public key, in the order of their names."""
    found = {name: _keys(state, name) for name in seats(state)}
    return {name: publics[-1] for name, publics in found.items() if publics}


def validator_keys(state: State, *, active: bool = False) -> Iterator[tuple[str, bytes]]:
    """Yield every validator key of an active member, with the member's name, seated or not.

    Parameters
    ----------
    active
        Leave out those that were replaced.
    """
    for name in active_members(state):
        row = state.get(MEMBERS, name)
        for key in row.keys if row else ():
            if key.role == "validator" and (key.active or not active):
                yield name, key.public


def validator_updates(
    before: Mapping[str, bytes], after: Mapping[str, bytes]
) -> list[tuple[bytes, int]]:
    """Return what the engine has to be told after a block: each changed key once, with its power.

    Parameters
    ----------
    before, after
        What `validator_set` returns of the states before and after the block.

    Examples
    --------
    >>> validator_updates({"east": b"old", "west": b"key"}, {"east": b"new", "west": b"key"})
    [(b'new', 10), (b'old', 0)]
    """
    left, right = set(before.values()), set(after.values())
    changed = {**dict.fromkeys(left - right, 0), **dict.fromkeys(right - left, POWER)}
    return sorted(changed.items())


def seat_problem(state: State, member: str) -> str:
    """Return why a member cannot be seated; nothing when it can."""
    if state.get(VALIDATORS) is None:
        return "nobody takes a seat here: only ledgers under the engine 'cometbft' have validators"
    if member in seats(state):
        return f"'{member}' validates already"
    if not _keys(state, member):
        return f"'{member}' has no valid validator key; it can rotate one in"
    return ""


def unseat_problem(state: State, member: str) -> str:
    """Return why a member cannot lose its seat; nothing when it can."""
    if member not in seats(state):
        return f"'{member}' has no seat: it does not validate"
    if is_last(state, member):
        return f"'{member}' is the last validator; seat another one first"
    return ""


def is_last(state: State, member: str) -> bool:
    """Return whether a member alone validates."""
    return seats(state) == (member,)


def seat(state: State, member: str) -> None:
    """Let a member validate."""
    state.put(VALIDATORS, row=tuple(sorted({*seats(state), member})))


def unseat(state: State, member: str) -> None:
    """Let a member validate no more, if it does."""
    if member in seats(state):
        state.put(VALIDATORS, row=tuple(name for name in seats(state) if name != member))


def handle_equivocate(state: State, context: Context, message: Equivocate) -> tuple[Event, ...]:
    """Convict a member of two votes at odds: its seat, the key and a tenth of its free money.

    Raises
    ------
    EvidenceError
        The evidence does not hold.
    """
    vote, member = message.votes[0], message.member
    place = (vote.height, vote.round, vote.kind)
    problem = _doubt(context, message)
    if not problem and state.get(EQUIVOCATIONS, member, *place) is not None:
        problem = f"'{member}' was convicted of this before"
    if problem:
        raise EvidenceError(problem)
    public = _signer(state, context.chain_id, message)
    micros = accounts.balance(state, member) * EQUIVOCATION_FORFEIT_BPS // BPS
    accounts.forfeit(state, member, micros)
    state.put(EQUIVOCATIONS, member, *place, row=Conviction(public, context.height, micros))
    convicted = Event("equivocation", member, micros)
    if is_last(state, member):  # who orders alone goes on: an empty set never could
        return (convicted,)
    retire_key(state, member, public)
    if member not in seats(state):
        return (convicted,)
    unseat(state, member)
    return (convicted, Event("unseated", member))


def _doubt(context: Context, message: Equivocate) -> str:
    """Return what is wrong with the votes whoever signed them."""
    one, other = message.votes
    if not context.chain_id:
        return "no votes are cast on this ledger: its engine is not 'cometbft'"
    if (one.height, one.round, one.kind) != (other.height, other.round, other.kind):
        return "the votes are not of one height, round and kind"
    if one.block == other.block:
        return "both votes are for the same block"
    if one.height > context.height:
        return f"height {one.height} is ahead of the ledger, which is at {context.height}"
    return ""


def _signer(state: State, chain_id: str, message: Equivocate) -> bytes:
    """Return the key that signed both votes.

    A key that was replaced convicts nobody: whoever stole it could sign anything.
    """
    signed = tuple(zip(message.votes, message.signatures, strict=True))
    for public in _keys(state, message.member):
        if all(is_vote_of(public, vote, chain_id, signature) for vote, signature in signed):
            return public
    msg = f"no valid validator key of '{message.member}' signed both votes"
    raise EvidenceError(msg)


def _keys(state: State, member: str) -> tuple[bytes, ...]:
    """Return an active member's valid validator keys, the newest last."""
    row = state.get(MEMBERS, member)
    if row is None or not row.active:
        return ()
    return tuple(key.public for key in row.keys if key.active and key.role == "validator")
