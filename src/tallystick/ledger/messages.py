"""Everything a member can ask of the ledger, one type each."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tallystick.codec import U8, U32, U63, Hash, Label, Record, Signature
from tallystick.crypto.votes import Vote as ConsensusVote
from tallystick.ledger.genesis import Key
from tallystick.ledger.terms import Terms
from tallystick.mechanisms.records import (
    Artefact,
    Attestation,
    Complaint,
    Group,
    Opinion,
    Output,
    Root,
    Seal,
)
from tallystick.mechanisms.records import Key as StageKey

__all__ = [
    "Accuse",
    "Admit",
    "BuyAccess",
    "Change",
    "CloseTask",
    "Collect",
    "DeclareBudget",
    "Entry",
    "Equivocate",
    "Erase",
    "Grant",
    "GrantToken",
    "Message",
    "Open",
    "Opening",
    "ProposeChange",
    "ProposeTask",
    "Publish",
    "Read",
    "RegisterDataset",
    "Remove",
    "ReplaceOwner",
    "RevokeToken",
    "RotateKey",
    "Salt",
    "Seat",
    "Transfer",
    "Unseat",
    "Upgrade",
    "Verb",
    "Vote",
    "entry_of",
]

Salt = Annotated[bytes, msgspec.Meta(max_length=32)]
Micros = Annotated[int, msgspec.Meta(ge=1, le=2**62)]


class Transfer(Record, tag=1):
    """Pay another member."""

    to: Label
    micros: Micros


class RotateKey(Record, tag=2):
    """Replace the sender's key of a role; the new key acts from the next block on."""

    key: Key
    proof: Signature


class Admit(Record, tag=1):
    """A new member with its keys."""

    member: Label
    keys: Annotated[tuple[Key, ...], msgspec.Meta(min_length=1, max_length=16)]


class Remove(Record, tag=2):
    """A member leaves; what it signed stays valid."""

    member: Label


class ReplaceOwner(Record, tag=3):
    """A new owner key for a member that lost its own."""

    member: Label
    key: Key


class Grant(Record, tag=4):
    """New money for a member; the supply grows by as much."""

    member: Label
    micros: Micros


class Upgrade(Record, tag=5):
    """A new protocol version: block ``height`` is the last under the old one."""

    version: U8
    height: U63


class Seat(Record, tag=6):
    """A member validates from the end of the block on, by its newest validator key."""

    member: Label


class Unseat(Record, tag=7):
    """A member validates no more, and stays a member."""

    member: Label


Change = Admit | Remove | ReplaceOwner | Grant | Upgrade | Seat | Unseat


class ProposeChange(Record, tag=3):
    """Put a change to the vote; the sender votes for it."""

    change: Change


class Vote(Record, tag=4):
    """Vote for a proposed change by its id."""

    proposal: Hash


class ProposeTask(Record, tag=5):
    """Open a task under these terms; the sender is their owner."""

    terms: Terms


class Entry(Record):
    """One record with the rest of its key; ``salt`` opens the seal it was committed by."""

    phase: Annotated[int, msgspec.Meta(ge=0, le=2)]
    round: U32
    stage: Label
    record: Seal | Artefact | Opinion | Attestation | Complaint
    group: Group = ""
    salt: Salt = b""


def entry_of(
    key: StageKey,
    record: Seal | Artefact | Opinion | Attestation | Complaint,
    salt: bytes = b"",
) -> Entry:
    """Return a record as it travels to the stage of a key."""
    return Entry(key.phase, key.round, key.stage, record, key.group, salt)


class Collect(Record, tag=6):
    """Records for stages of one task."""

    task: Hash
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(min_length=1, max_length=64)]


class Opening(Record):
    """The output that an attested stage's signatures are about."""

    stage: Label
    group: Group
    output: Output


class Open(Record, tag=7):
    """Open attested outputs of the current round, in the order of their stages."""

    task: Hash
    phase: Annotated[int, msgspec.Meta(ge=0, le=2)]
    round: U32
    openings: Annotated[tuple[Opening, ...], msgspec.Meta(min_length=1, max_length=64)]


class Accuse(Record, tag=8):
    """Two signatures of one member over different outputs of one stage on the same inputs."""

    task: Hash
    member: Label
    phase: Annotated[int, msgspec.Meta(ge=0, le=2)]
    round: U32
    stage: Label
    group: Group
    inputs: Hash
    outputs: tuple[Hash, Hash]
    signatures: tuple[Signature, Signature]


class CloseTask(Record, tag=9):
    """The owner ends a task early: the running round is finished, then the task closes."""

    task: Hash


class RegisterDataset(Record, tag=10):
    """Commit to a data set by a root; nothing about its content is claimed."""

    root: Hash
    rows: U63
    kind: Literal["salted-rows", "file"] = "file"


class BuyAccess(Record, tag=11):
    """Pay a task's fee for reading its models."""

    task: Hash
    budget: U63
    edition: U32 = 0


class DeclareBudget(Record, tag=12):
    """Say how much privacy may be spent of the sender's own data set: epsilon at delta, in all."""

    dataset: Hash
    epsilon_nanos: Micros
    delta_picos: Annotated[int, msgspec.Meta(ge=1, lt=10**12)]


class Equivocate(Record, tag=13):
    """Two votes of one validator for different blocks, in one height, round and kind."""

    member: Label
    votes: tuple[ConsensusVote, ConsensusVote]
    signatures: tuple[Signature, Signature]


class Publish(Record, tag=16):
    """Point at bytes kept encrypted off the ledger, as a first version or in another's place.

    ``digest`` and ``size`` are of the plain bytes, ``stored`` and ``stored_size`` of the encrypted
    ones; ``replaces`` is the digest of the version before, or empty.
    """

    digest: Hash
    size: U63
    stored: Hash
    stored_size: U63
    kind: Literal["dataset", "model"]
    replaces: Root = b""


class Erase(Record, tag=17):
    """Put a tombstone on a pointer; whoever holds its key destroys it."""

    digest: Hash


Verb = Literal["delete", "read", "update"]


class GrantToken(Record, tag=18):
    """Let a member read, update or delete what a pointer names, until a time."""

    digest: Hash
    subject: Label
    verb: Verb
    expires: U63


class RevokeToken(Record, tag=19):
    """Take a token back; the bytes are encrypted anew, under a key the subject never had."""

    digest: Hash
    subject: Label
    verb: Verb
    stored: Hash
    stored_size: U63


class Read(Record, tag=20):
    """Ask for a pointer's key: its holder hands it out on the receipt."""

    digest: Hash


Message = (
    Transfer
    | RotateKey
    | ProposeChange
    | Vote
    | ProposeTask
    | Collect
    | Open
    | Accuse
    | CloseTask
    | RegisterDataset
    | BuyAccess
    | DeclareBudget
    | Equivocate
    | Publish
    | Erase
    | GrantToken
    | RevokeToken
    | Read
)
