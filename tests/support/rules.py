"""Rules for tests: outputs computed from inputs alone, so attested stages need no tensors.

They stand outside the package on purpose: terms have to pin them, as any third party's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import msgspec

from tallystick.crypto.hashes import sha256
from tallystick.mechanisms import reasons
from tallystick.mechanisms.draws import member_subject, ticket
from tallystick.mechanisms.records import (
    Artefact,
    Attestation,
    Complaint,
    Fault,
    Opinion,
    Output,
    Pay,
    Subject,
)
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place
from tallystick.mechanisms.submissions import list_artefacts


@register
@dataclass(frozen=True, slots=True)
class ScreenByte:
    """Refuse subjects whose id begins with a byte below ``low``."""

    id: ClassVar[str] = "screen/test-byte/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()

    low: int = 0

    def fold(self, records, inputs):
        return Output(
            tuple(
                msgspec.structs.replace(subject, verdict=reasons.NORM)
                if subject.live and subject.id[0] < self.low
                else subject
                for subject in inputs.subjects
            )
        )

    @classmethod
    def examples(cls):
        return [cls(), cls(low=100)]


@register
@dataclass(frozen=True, slots=True)
class AggregateHash:
    """Make a "model" whose root is the hash of its parent and the live updates."""

    id: ClassVar[str] = "aggregate/test-hash/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ("clip_over",)
    lists: ClassVar[int] = 8
    yields_model: ClassVar[bool] = True

    void: str = ""

    def fold(self, records, inputs):
        if self.void:
            return Output(void=self.void)
        if not inputs.live:
            return Output()
        ids = b"".join(subject.id for subject in inputs.live)
        return Output((Subject(sha256("test-model", inputs.parent[0], ids), "", columns=(1000,)),))

    @classmethod
    def examples(cls):
        return [cls()]


@register
@dataclass(frozen=True, slots=True)
class AggregateSum:
    """One sum per group: a subject like any update."""

    id: ClassVar[str] = "aggregate/test-sum/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()

    def fold(self, records, inputs):
        ids = b"".join(subject.id for subject in inputs.live)
        subject = Subject(sha256("test-sum", ids), "", inputs.key.group, columns=(100, 1))
        return Output((subject,) if ids else ())

    @classmethod
    def examples(cls):
        return [cls()]


@register
@dataclass(frozen=True, slots=True)
class SelectGroups:
    """Deal the roster into groups by the beacon."""

    id: ClassVar[str] = "select/test-groups/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()

    groups: int = 2

    def fold(self, records, inputs):
        drawn = sorted(
            inputs.roster, key=lambda seat: ticket(inputs.beacon, inputs.key, seat.member)
        )
        dealt = sorted((seat.member, f"g{at % self.groups}") for at, seat in enumerate(drawn))
        return Output(tuple(Subject(member_subject(name), name, group) for name, group in dealt))

    @classmethod
    def examples(cls):
        return [cls()]


@register
@dataclass(frozen=True, slots=True)
class ScoreVote:
    """One vote each; a subject without votes is not chosen."""

    id: ClassVar[str] = "score/test-vote/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Opinion]] = Opinion
    refs: ClassVar[tuple[str, ...]] = ()

    def check_vector(self, vector, inputs):
        return len(vector) == len(inputs.subjects) and sum(vote is not None for vote in vector) <= 1

    def fold(self, records, inputs):
        votes = [held.record.vector for held in records if isinstance(held.record, Opinion)]
        rows = []
        for at, subject in enumerate(inputs.subjects):
            got = sum(vote[at] is not None for vote in votes)
            verdict = subject.verdict if got or not subject.live else reasons.NOT_CHOSEN
            columns = (*subject.columns, got)
            rows.append(msgspec.structs.replace(subject, verdict=verdict, columns=columns))
        return Output(tuple(rows))

    @classmethod
    def examples(cls):
        return [cls()]


@register
@dataclass(frozen=True, slots=True)
class JoinParties:
    """Whoever answers is in."""

    id: ClassVar[str] = "join/test-parties/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Artefact]] = Artefact
    refs: ClassVar[tuple[str, ...]] = ()

    def fold(self, records, inputs):
        names = sorted((held.author, held.group) for held in records)
        return Output(tuple(Subject(member_subject(name), name, group) for name, group in names))

    @classmethod
    def examples(cls):
        return [cls()]


@register
@dataclass(frozen=True, slots=True)
class SubmitShare:
    """Artefacts about an earlier output."""

    id: ClassVar[str] = "submit/test-share/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Artefact]] = Artefact
    refs: ClassVar[tuple[str, ...]] = ()

    def fold(self, records, inputs):
        return Output(list_artefacts(records, inputs))

    @classmethod
    def examples(cls):
        return [cls()]


@register
@dataclass(frozen=True, slots=True)
class ChallengeProof:
    """A complaint with the evidence ``proof`` convicts the member its record names."""

    id: ClassVar[str] = "challenge/test-proof/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Complaint]] = Complaint
    refs: ClassVar[tuple[str, ...]] = ()

    fine: int = 0
    void: bool = False

    def fold(self, records, inputs):
        accused = sorted(
            {held.record.record.decode() for held in records if held.record.evidence == b"proof"}
        )
        faults = tuple(Fault(name, self.fine, 399) for name in accused)
        return Output(effects=faults, void="complained" if self.void and accused else "")

    @classmethod
    def examples(cls):
        return [cls(), cls(fine=5)]


@register
@dataclass(frozen=True, slots=True)
class SettlePay:
    """Pay one member, whatever happened."""

    id: ClassVar[str] = "settle/test-pay/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()

    member: str = "alpha"
    micros: int = 0

    def fold(self, records, inputs):
        return Output(effects=(Pay(self.member, self.micros),))

    @classmethod
    def examples(cls):
        return [cls(micros=1)]


@register
@dataclass(frozen=True, slots=True)
class DecideCrash:
    """A rule with a bug in it, from round ``after`` on."""

    id: ClassVar[str] = "decide/test-crash/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()

    after: int = 0

    def fold(self, records, inputs):
        if inputs.key.round >= self.after:
            return {}["planted"]
        return Output(inputs.subjects)

    @classmethod
    def examples(cls):
        return [cls(after=100)]
