"""What a task keeps in the state between blocks.

A row for the task, one for each open stage instance, one for each member's records in it, and the
outputs that later stages may still refer to. Nothing here counts blocks or time.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from tallystick.codec import U8, U16, U32, U63, Hash, Label, Record
from tallystick.crypto.merkle_list import Peaks
from tallystick.errors import RejectedError
from tallystick.ledger.state import Table
from tallystick.ledger.terms import Terms
from tallystick.mechanisms.records import (
    Artefact,
    Complaint,
    Fault,
    Group,
    Key,
    Opinion,
    Output,
    Pay,
)

__all__ = [
    "CLOSE_REQUESTED",
    "ENDED",
    "LIVE",
    "MOST_SIGNATURES",
    "NAMES",
    "OUTPUTS",
    "RECORDS",
    "SEEN",
    "STAGES",
    "TASKS",
    "TERMS",
    "MechanismError",
    "MemberRow",
    "ModelRef",
    "RosterRow",
    "SeatRow",
    "StageRow",
    "TaskRow",
]

MOST_SIGNATURES = 8  # a member signs a stage again only when its inputs turned out otherwise
Status = Literal["running", "done", "void", "aborted", "suspended"]
Window = Literal["seal", "reveal", "record", "hold", "attest", "done"]
ENDED = ("done", "void", "aborted", "suspended")


class MechanismError(RejectedError):
    """A round refuses what was asked; subclasses have codes from 501."""

    slug: ClassVar[str] = "mechanism"
    code: ClassVar[int] = 500


class ModelRef(Record):
    """A model by root and size."""

    root: Hash
    size: U63


class SeatRow(Record):
    """A member on a roster, with its group."""

    member: Label
    group: Group = ""


class RosterRow(Record):
    """A named roster written by a stage, seats sorted."""

    name: Label
    seats: tuple[SeatRow, ...]


class TaskRow(Record):
    """Where a task stands.

    ``rosters`` hold for good, ``pending`` and ``draft`` and ``effects`` only once the round
    completes. ``funders`` paid into the escrow and share what is left of it. ``excess`` is the
    silence beyond the terms' gap, subtracted from block time to get task time. ``completed`` are
    the last completed rounds that references may still reach.
    """

    id: Hash
    name: Label
    owner: Label
    status: Status
    phase: U8
    round: U32
    position: U16
    open: tuple[Key, ...]
    beacon: Hash
    log: Peaks
    rosters: tuple[RosterRow, ...] = ()
    pending: tuple[RosterRow, ...] = ()
    effects: tuple[Pay | Fault, ...] = ()
    bonded: tuple[Label, ...] = ()
    completed: tuple[U32, ...] = ()
    voids: U8 = 0
    withheld: tuple[Label, ...] = ()
    faulty: tuple[Label, ...] = ()
    dozing: tuple[Label, ...] = ()
    excess: U63 = 0
    model: ModelRef | None = None
    draft: ModelRef | None = None
    funders: tuple[tuple[Label, U63], ...] = ()
    closing: bool = False
    cause: Annotated[str, msgspec.Meta(max_length=64)] = ""


class StageRow(Record):
    """An open stage instance: its window, when that ends in task time, and whom it asks.

    ``withheld`` sealed and missed a reveal window of this stage, in any try. ``subject`` is what
    hold vectors and co-signatures are about; ``listed`` is the output before the holders spoke,
    ``blobs`` which of its subjects have bytes to be held.
    """

    key: Key
    window: Window
    ends: U63
    roster: tuple[SeatRow, ...]
    tries: U8 = 0
    escalated: bool = False
    withheld: tuple[Label, ...] = ()
    subject: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    listed: Output | None = None
    blobs: tuple[Hash, ...] = ()
    output: Output | None = None


class MemberRow(Record):
    """What one member sent for one stage instance; ``declined`` says why it passes its turn."""

    seal: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    record: Artefact | Opinion | Complaint | None = None
    salt: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    held: Opinion | None = None
    declined: Annotated[bytes, msgspec.Meta(max_length=4096)] = b""
    signatures: Annotated[
        tuple[tuple[U8, Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]], ...],
        msgspec.Meta(max_length=MOST_SIGNATURES),
    ] = ()


class Sighting(Record):
    """Who first revealed an artefact in a task, and in which round."""

    author: Label
    round: U32


TASKS: Table[TaskRow] = Table(0x20, TaskRow)
TERMS: Table[Terms] = Table(0x21, Terms)
NAMES: Table[bytes] = Table(0x22, Hash)
LIVE: Table[tuple[bytes, ...]] = Table(0x23, tuple[Hash, ...])
STAGES: Table[StageRow] = Table(0x24, StageRow)
RECORDS: Table[MemberRow] = Table(0x25, MemberRow)
OUTPUTS: Table[Output] = Table(0x26, Output)
SEEN: Table[Sighting] = Table(0x27, Sighting)
CLOSE_REQUESTED = "closed-by-owner"
