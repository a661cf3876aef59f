"""What a task's log holds: its signed transactions and what the ledger made of them.

The log is an RFC 6962 list per task. With the transactions it carries the rosters as they were
frozen, who was absent, the beacon, every output and every payment, so that each decision can be
derived again from the log alone.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from tallystick.codec import U8, U32, U63, Hash, Label, Record
from tallystick.ledger.collect.rows import ModelRef, SeatRow
from tallystick.mechanisms.records import Group, Key, Output

__all__ = [
    "Advanced",
    "Attested",
    "Charged",
    "Closed",
    "Finished",
    "Forfeited",
    "Note",
    "Opened",
    "Paid",
    "RoundEnded",
    "Shut",
    "Signed",
]

MOST = 4096  # seats of a stage, names and artefacts in a record: as many as an output's subjects
Names = Annotated[tuple[Label, ...], msgspec.Meta(max_length=MOST)]


class Signed(Record, tag=1):
    """A transaction that concerned this task, as it was sent."""

    wire: bytes


class Opened(Record, tag=2):
    """A stage instance opened for these seats."""

    key: Key
    seats: Annotated[tuple[SeatRow, ...], msgspec.Meta(max_length=MOST)]


class Shut(Record, tag=3):
    """A window shut. ``full``: it ran its whole length. ``lost``: artefacts nobody could hold."""

    key: Key
    window: Annotated[str, msgspec.Meta(max_length=8)]
    full: bool
    absent: Names
    lost: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=MOST)] = ()


class Advanced(Record, tag=4):
    """The beacon moved on; who withheld a salt is out of draws until it does again."""

    key: Key
    beacon: Hash
    withheld: Names


class Attested(Record, tag=5):
    """Who of a roster signed the output that was opened, over which inputs."""

    key: Key
    inputs: Hash
    signers: Names
    roster: U32


class Closed(Record, tag=6):
    """A stage's output, all its groups together."""

    phase: U8
    round: U32
    stage: Label
    output: Output


class Paid(Record, tag=7):
    """Money that left the escrow for a member, or a bond that went back."""

    round: U32
    member: Label
    micros: U63
    what: Annotated[str, msgspec.Meta(max_length=16)]


class Forfeited(Record, tag=8):
    """Money that went to the sink, and for what."""

    key: Key
    member: Label
    micros: U63
    why: Annotated[str, msgspec.Meta(max_length=32)]


class RoundEnded(Record, tag=9):
    """A round completed (no cause) or was voided; the task's model after it."""

    phase: U8
    round: U32
    cause: Annotated[str, msgspec.Meta(max_length=64)]
    model: ModelRef | None
    group: Group = ""


class Finished(Record, tag=10):
    """The task ended: how, and why."""

    status: Annotated[str, msgspec.Meta(max_length=16)]
    cause: Annotated[str, msgspec.Meta(max_length=64)]
    refund: U63


class Charged(Record, tag=11):
    """A member's record of this stage was charged to its data set, at what the terms say."""

    key: Key
    member: Label
    dataset: Hash


Note = (
    Signed
    | Opened
    | Shut
    | Advanced
    | Attested
    | Closed
    | Paid
    | Forfeited
    | RoundEnded
    | Finished
    | Charged
)
