"""Who is a member, what is under vote, and how a member has its say: votes and new keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from tallystick.codec import encode
from tallystick.consensus.solo import sealing_keys
from tallystick.crypto.hashes import sha256
from tallystick.errors import ConfigError, RejectedError
from tallystick.federation.card import fingerprint
from tallystick.federation.key_file import add_secret
from tallystick.federation.trial import ROLES
from tallystick.ledger.contracts.changes import PROPOSALS
from tallystick.ledger.contracts.members import MEMBERS, active_members, key_proof
from tallystick.ledger.contracts.validators import validator_set
from tallystick.ledger.genesis import Key
from tallystick.ledger.messages import ProposeChange, RotateKey, Upgrade, Vote

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.federation.acting import Acting
    from tallystick.ledger.contracts.members import Member
    from tallystick.ledger.genesis import Genesis, Role
    from tallystick.ledger.messages import Change
    from tallystick.ledger.state import State

__all__ = [
    "OpenProposal",
    "Rotation",
    "Voted",
    "find_proposal",
    "member_fingerprint",
    "open_proposals",
    "ordering_keys",
    "rotate",
    "support",
    "votes_needed",
]

ID_DIGITS = 64


@dataclass(frozen=True, slots=True)
class OpenProposal:
    """A change under vote: its id, the active members who are for it, and how many it takes."""

    id: bytes
    change: Change
    votes: tuple[str, ...]
    needed: int

    @property
    def member(self) -> str:
        """Whom it concerns; empty for a new protocol version."""
        return "" if isinstance(self.change, Upgrade) else self.change.member


@dataclass(frozen=True, slots=True)
class Voted:
    """What came of a member's say: the proposal as it stands, or as it stood when decided."""

    proposal: OpenProposal
    decided: bool
    before: bool  # it had its say already; nothing was sent


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new key on the ledger.

    ``seals`` says whether it orders blocks from now on: seals them, or votes on them.
    """

    role: Role
    index: int
    public: bytes
    seals: bool


def votes_needed(state: State) -> int:
    """Return how many votes are more than two thirds of the active members."""
    return 2 * len(active_members(state)) // 3 + 1


def open_proposals(state: State) -> list[OpenProposal]:
    """Return what is under vote, by id."""
    roll, needed = set(active_members(state)), votes_needed(state)
    found: list[OpenProposal] = []
    for _, row in state.rows_of(PROPOSALS):
        votes = tuple(name for name in row.votes if name in roll)
        found.append(OpenProposal(_id_of(row.change), row.change, votes, needed))
    return sorted(found, key=lambda proposal: proposal.id)


def find_proposal(state: State, wanted: str) -> OpenProposal:
    """Return the open proposal with an id, or the only one about a member.

    Raises
    ------
    ConfigError
        There is none, or more than one.
    """
    proposals = open_proposals(state)
    found = [each for each in proposals if wanted in {each.id.hex(), each.member}]
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"{len(found)} changes of '{wanted}' are under vote"
        raise ConfigError(msg, hint="name one by its id: `tally member list` shows them")
    what = "proposal" if len(wanted) == ID_DIGITS else "change of"
    about = ", ".join(f"{each.member or 'the protocol'} ({each.id.hex()})" for each in proposals)
    msg = f"no {what} '{wanted}' is under vote: none was proposed, or it is decided"
    raise ConfigError(msg, hint=f"under vote: {about or 'nothing'}")


def support(acting: Acting, change: Change) -> Voted:
    """Propose a change, or vote for it if it is under vote.

    Whoever did so before changes nothing, so that it may be repeated.

    Raises
    ------
    ConfigError
        It is a new upgrade at a height that has passed, which would come at once.
    RejectedError, UnavailableError
        As `Acting.act`.
    """
    proposal, me = _id_of(change), acting.name
    before = _open(acting.state, proposal)
    if before is not None and me in before.votes:
        return Voted(before, decided=False, before=True)
    if before is None:
        _check_height(acting, change)
        before = _propose(acting, change)
    if before is not None:
        acting.act(Vote(proposal))
    found = _open(acting.state, proposal)
    if found is not None:
        return Voted(found, decided=False, before=False)
    votes = tuple(sorted({*(before.votes if before else ()), me}))
    last = OpenProposal(proposal, change, votes, before.needed if before else len(votes))
    return Voted(last, decided=True, before=False)


def _check_height(acting: Acting, change: Change) -> None:
    """Refuse an upgrade at a height that has passed: it would come as soon as it is decided."""
    if isinstance(change, Upgrade) and change.height <= acting.engine.head.height:
        msg = f"height {change.height} has passed: the ledger is at {acting.engine.head.height}"
        raise ConfigError(msg, hint="give everybody time: choose one that is far ahead")


def rotate(acting: Acting, folder: Path, role: Role) -> Rotation:
    """Put a new key of the member's on the ledger in place of those of a role.

    Its secret is durable in the key file before the ledger hears of it. One that is there and that
    the ledger does not know is what an interrupted rotation left, and is used.

    Raises
    ------
    ConfigError, RejectedError, UnavailableError
        As `Acting.act` and `add_secret`; the old key goes on working.
    """
    name, genesis = acting.name, acting.engine.genesis
    row = acting.state.get(MEMBERS, name)
    acting.check_identity()
    keyring = acting.keyring
    known = {key.public for key in row.keys} if row is not None else set[bytes]()
    if keyring is None or keyring.public(role) in known:
        keyring = add_secret(folder, role, name)
    acting.keyring = keyring
    ordered_with = ordering_keys(acting.state, genesis)
    public, secret = keyring.public(role), keyring.secrets(role)[-1]
    proof = key_proof(secret, name, public, acting.engine.kernel.chain)
    acting.act(RotateKey(Key(public, role), proof))
    seals = public in ordering_keys(acting.state, genesis) and public not in ordered_with
    return Rotation(role, keyring.identity_in(acting.state, role).key, public, seals)


def ordering_keys(state: State, genesis: Genesis) -> tuple[bytes, ...]:
    """Return the public keys by which blocks are ordered now: the sealer's, or all validators'."""
    if genesis.engine == "cometbft":
        return tuple(validator_set(state).values())
    return sealing_keys(state, genesis.sealer)


def member_fingerprint(name: str, row: Member) -> str:
    """Return the fingerprint that the member's own card has now."""
    valid = [Key(key.public, cast("Role", key.role)) for key in row.keys if key.active]
    return fingerprint(name, tuple(sorted(valid, key=lambda key: ROLES.index(key.role))))


def _propose(acting: Acting, change: Change) -> OpenProposal | None:
    """Propose a change; return what somebody else proposed at the same time instead."""
    try:
        acting.act(ProposeChange(change))
    except RejectedError:
        found = _open(acting.state, _id_of(change))
        if found is None:
            raise
        return found
    return None


def _id_of(change: Change) -> bytes:
    return sha256("proposal", encode(change))


def _open(state: State, proposal: bytes) -> OpenProposal | None:
    return next((each for each in open_proposals(state) if each.id == proposal), None)
