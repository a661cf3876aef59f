"""What a stage collects and what it yields: the vocabulary shared by rules and ledger.

A stage asks a roster for one record each, closes, and folds the records into an `Output`.
There are five records. An output has one root, the only list root there is: opinions,
attestations and proofs all refer to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

import msgspec

from tallystick.codec import (
    I63,
    U16,
    U32,
    U63,
    Bytes,
    Hash,
    Label,
    Record,
    Signature,
    encode,
)
from tallystick.crypto.merkle_list import list_root

__all__ = [
    "ACCEPTED",
    "CLOSE",
    "MAX_SUBJECTS",
    "ROUND",
    "SETUP",
    "Artefact",
    "Attestation",
    "Complaint",
    "Fault",
    "Key",
    "Opinion",
    "Output",
    "Pay",
    "Root",
    "Seal",
    "Subject",
    "join_outputs",
]

SETUP, ROUND, CLOSE = 0, 1, 2
ACCEPTED = 0

MAX_SUBJECTS = 4096
Group = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^([a-z0-9][a-z0-9._-]*)?\Z")]
Author = Group
Column = I63
Root = Annotated[bytes, msgspec.Meta(max_length=32)]  # 32 bytes, or empty for "none"


class Key(Record):
    """Where a record belongs: task, phase, round, stage and group (empty when ungrouped)."""

    task: Hash
    phase: Annotated[int, msgspec.Meta(ge=0, le=2)]
    round: U32
    stage: Label
    group: Group


class Seal(Record, tag="s"):
    """A commitment to a whole record that follows in the reveal window."""

    seal: Hash


class Artefact(Record, tag="a"):
    """Bytes kept off the ledger: their chunk root and size, what they build on, their weight."""

    root: Hash
    size: U63
    parents: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=8)] = ()
    weight: U32 = 1
    statement: Annotated[bytes, msgspec.Meta(max_length=1024)] = b""


class Opinion(Record, tag="o"):
    """Integers about a list of subjects, in the list's order; ``None`` where there is none."""

    subjects: Hash
    vector: Annotated[tuple[I63 | None, ...], msgspec.Meta(max_length=MAX_SUBJECTS + 8)]
    evidence: Root = b""


class Attestation(Record, tag="t"):
    """A detached signature over a stage's inputs and an output that is named only later."""

    signature: Signature


class Complaint(Record, tag="c"):
    """A fault somebody claims, with evidence; both empty when there is nothing to complain of."""

    record: Bytes = b""
    evidence: Bytes = b""


class Subject(Record):
    """One line of an output: who or what it is about, the verdict, and integer columns.

    ``verdict`` is `ACCEPTED` or a reason code of `tallystick.mechanisms.reasons`; ``evidence``
    is the root of the list the verdict rests on. ``parent`` is what an update builds on.
    """

    id: Hash
    author: Author
    group: Group = ""
    verdict: U16 = ACCEPTED
    columns: Annotated[tuple[Column, ...], msgspec.Meta(max_length=1024)] = ()
    parent: Root = b""
    evidence: Root = b""

    @property
    def live(self) -> bool:
        """Whether later stages still count this subject."""
        return self.verdict == ACCEPTED

    @property
    def rank(self) -> tuple[bytes, str, str]:
        """Where it stands among others: what ties go by, and what names it in a list."""
        return self.id, self.author, self.group


class Pay(Record, tag="p"):
    """Pay ``micros`` from the task's escrow to a member when the round completes."""

    member: Label
    micros: U63


class Fault(Record, tag="f"):
    """Name a member's proven fault; ``micros`` of its bond go to the sink."""

    member: Label
    micros: U63
    reason: U16


class Output(Record, dict=True, gc=True):
    """What a stage yields: ordered subjects, effects that contracts apply, or a void cause."""

    subjects: Annotated[tuple[Subject, ...], msgspec.Meta(max_length=MAX_SUBJECTS)] = ()
    effects: Annotated[tuple[Pay | Fault, ...], msgspec.Meta(max_length=MAX_SUBJECTS)] = ()
    void: Annotated[str, msgspec.Meta(max_length=64)] = ""

    @property
    def live(self) -> tuple[Subject, ...]:
        """The subjects that later stages count."""
        return tuple(subject for subject in self.subjects if subject.live)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults among the effects, which are kept even when the rest is void."""
        return tuple(effect for effect in self.effects if isinstance(effect, Fault))

    @cached_property
    def root(self) -> bytes:
        """RFC 6962 root over the header, each subject and each effect; computed once."""
        header = encode((self.void, len(self.subjects), len(self.effects)))
        return list_root([header, *map(encode, self.subjects), *map(encode, self.effects)])


def join_outputs(outputs: Sequence[Output]) -> Output:
    """Return a stage's groups' outputs as one; void ones give up everything but their faults.

    Void only if all of them are.
    """
    if len(outputs) == 1:
        return outputs[0]
    good = [output for output in outputs if not output.void]
    faults = [fault for output in outputs if output.void for fault in output.faults]
    return Output(
        tuple(subject for output in good for subject in output.subjects),
        (*(effect for output in good for effect in output.effects), *faults),
        "" if good else outputs[0].void,
    )
