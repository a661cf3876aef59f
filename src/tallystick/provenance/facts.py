"""A task's log as a story: its rounds, what every stage was told and concluded, how it ended.

Reading believes the log; `tallystick.provenance.verify` is what checks it. Every part keeps the
number of its record and the height of the block that added it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallystick.crypto.merkle_list import Peaks
from tallystick.ledger.collect.recipe import Plan, plan_of
from tallystick.ledger.terms import Terms
from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import ROUND, Artefact, Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.ledger.collect.notes import (
        Advanced,
        Attested,
        Charged,
        Finished,
        Forfeited,
        Paid,
        RoundEnded,
        Shut,
    )
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.rows import ModelRef
    from tallystick.ledger.messages import Entry, Message
    from tallystick.mechanisms.records import Key, Subject
    from tallystick.mechanisms.rule import Inputs

__all__ = [
    "At",
    "Instance",
    "Refusal",
    "RoundHistory",
    "Sent",
    "StageHistory",
    "TaskHistory",
    "Transmission",
]


@dataclass(frozen=True, slots=True, order=True)
class At:
    """Where something stands: the block's height, and the record's number in the log."""

    height: int
    number: int


@dataclass(frozen=True, slots=True)
class Transmission:
    """A signed transaction of the task: who, by which key, and what."""

    at: At
    sender: str
    key: int
    message: Message


@dataclass(frozen=True, slots=True)
class Sent:
    """One record a member sent to a stage."""

    at: At
    member: str
    key: int
    entry: Entry


@dataclass(slots=True)
class Instance:
    """One stage instance: whom it asked, what came, how its windows shut.

    Attributes
    ----------
    seats
        The roster with its groups; `None` for a stage whose signatures came but which never opened.
    log
        The log up to and with the record that opened it.
    """

    key: Key
    opened: At | None = None
    seats: tuple[tuple[str, str], ...] = ()
    sent: list[Sent] = field(default_factory=list[Sent])
    shut: list[tuple[At, Shut]] = field(default_factory=list["tuple[At, Shut]"])
    attested: tuple[At, Attested] | None = None
    log: Peaks = field(default_factory=Peaks)


@dataclass(slots=True)
class StageHistory:
    """One stage of one round.

    Attributes
    ----------
    inputs
        What its fold looked at, as far as outputs and models go.
    step
        The recipe's step; `None` until the stage has closed.
    sources
        The stage, with its round, that each of the step's lists (``of``) was the output of; `None`
        for a reference that reached nothing.
    """

    name: str
    rule: str
    instances: dict[str, Instance] = field(default_factory=dict[str, Instance])
    closed: At | None = None
    output: Output = field(default_factory=Output)
    inputs: Inputs | None = None
    step: Step | None = None
    sources: tuple[StageHistory | None, ...] = ()


@dataclass(slots=True)
class RoundHistory:
    """One round: setup is round 0, closing is the last.

    Attributes
    ----------
    ended
        Why it was void (empty when it completed), and the model after it; `None` while it runs.
    """

    phase: int
    number: int
    stages: dict[str, StageHistory] = field(default_factory=dict[str, StageHistory])
    beacons: list[tuple[At, Advanced]] = field(default_factory=list["tuple[At, Advanced]"])
    paid: list[tuple[At, Paid]] = field(default_factory=list["tuple[At, Paid]"])
    forfeited: list[tuple[At, Forfeited]] = field(default_factory=list["tuple[At, Forfeited]"])
    charged: list[tuple[At, Charged]] = field(default_factory=list["tuple[At, Charged]"])
    ended: tuple[At, RoundEnded] | None = None

    @property
    def completed(self) -> bool:
        """Whether it ended and was not void."""
        return self.ended is not None and not self.ended[1].cause

    def closed(self) -> Iterator[StageHistory]:
        """Yield the stages that closed, in order."""
        found = [stage for stage in self.stages.values() if stage.closed is not None]
        yield from sorted(found, key=lambda stage: stage.closed or At(0, 0))


@dataclass(frozen=True, slots=True)
class Refusal:
    """An update that was refused: by which stage, why, and on what evidence."""

    at: At
    round: int
    member: str
    update: bytes
    code: int
    stage: str
    evidence: bytes

    @property
    def reason(self) -> str:
        """The code's name."""
        return reasons.name_of(self.code)

    def to_json(self) -> dict[str, object]:
        """Return it as the command line prints it."""
        return {
            "round": self.round,
            "member": self.member,
            "update": self.update.hex(),
            "code": self.code,
            "reason": self.reason,
            "evidence": self.evidence.hex(),
            "stage": self.stage,
            "height": self.at.height,
            "record": self.at.number,
        }


@dataclass(slots=True)
class TaskHistory:
    """Everything a task's log says.

    Attributes
    ----------
    leaves
        How many records the log has, and ``log_root`` their RFC 6962 root.
    finished
        How the task ended; `None` while it runs.
    """

    task: bytes
    terms: Terms
    opened: At
    transmissions: list[Transmission] = field(default_factory=list[Transmission])
    rounds: list[RoundHistory] = field(default_factory=list[RoundHistory])
    finished: tuple[At, Finished] | None = None
    leaves: int = 0
    log_root: bytes = b""

    @property
    def plan(self) -> Plan:
        """The recipe the terms spell out."""
        return plan_of(self.terms)

    @property
    def status(self) -> str:
        """How the task ended, or ``running``."""
        return "running" if self.finished is None else self.finished[1].status

    @property
    def ending(self) -> str:
        """How the task ended and why, as a sentence says it after "the task"."""
        if self.finished is None:
            return "is still running"
        _, end = self.finished
        return f"ended {end.status}{f' ({end.cause})' if end.cause else ''}"

    @property
    def model(self) -> ModelRef | None:
        """The task's model after its last round that ended."""
        for found in reversed(self.rounds):
            if found.ended is not None:
                return found.ended[1].model
        return None

    @property
    def models(self) -> list[tuple[int, ModelRef]]:
        """The model after each completed round, with the round's number."""
        return [
            (found.number, found.ended[1].model)
            for found in self.rounds
            if found.phase == ROUND and found.completed
            if found.ended is not None and found.ended[1].model is not None
        ]

    @property
    def completed(self) -> int:
        """How many rounds completed."""
        return sum(found.phase == ROUND and found.completed for found in self.rounds)

    @property
    def attempts(self) -> int:
        """How many rounds have ended, void ones counted."""
        return sum(found.phase == ROUND and found.ended is not None for found in self.rounds)

    def updates(self, found: RoundHistory) -> dict[tuple[bytes, str], Sent]:
        """Return the artefacts revealed in a round, by root and author; those without bytes too."""
        return {
            (sent.entry.record.root, sent.member): sent
            for stage in found.stages.values()
            for instance in stage.instances.values()
            for sent in instance.sent
            if isinstance(sent.entry.record, Artefact)
        }

    @property
    def refusals(self) -> list[Refusal]:
        """Every refused update once, with its first refusing stage, in the order of the log."""
        refused: list[Refusal] = []
        for found in self.rounds:
            refused += sorted(_refused(self, found), key=lambda each: each.at)
        return refused

    def artefacts(self) -> dict[bytes, int]:
        """Return root and size of every blob the task's outputs rest on."""
        known: dict[bytes, int] = {}
        if self.terms.model is not None:
            known[self.terms.model.root] = self.terms.model.size
        for found in self.rounds:
            sizes = {
                sent.entry.record.root: sent.entry.record.size
                for sent in self.updates(found).values()
                if isinstance(sent.entry.record, Artefact)
            }
            for stage in found.closed():
                made = stage.rule.startswith("aggregate/")
                for subject in stage.output.subjects:
                    size = subject.columns[0] if made and subject.columns else 0
                    size = sizes.get(subject.id, size)
                    if size > 0:
                        known[subject.id] = size
        return known


def _refused(history: TaskHistory, found: RoundHistory) -> Iterator[Refusal]:
    """Yield a round's refusals, lost artefacts included."""
    sent = history.updates(found)
    last: dict[tuple[bytes, str], Subject] = {}
    first: dict[tuple[bytes, str], tuple[At, str]] = {}
    for stage in found.closed():
        for subject in stage.output.subjects:
            name = (subject.id, subject.author)
            if name not in sent or stage.closed is None:
                continue
            last[name] = subject
            if subject.live:
                first.pop(name, None)
            else:
                first.setdefault(name, (stage.closed, stage.name))
    for name, (at, stage_name) in first.items():
        subject = last[name]
        yield Refusal(
            at, found.number, name[1], name[0], subject.verdict, stage_name, subject.evidence
        )
    yield from _lost(found, sent)


def _lost(found: RoundHistory, sent: dict[tuple[bytes, str], Sent]) -> Iterator[Refusal]:
    """Yield what no two thirds of the holders could hold: `unavailable`, nobody's fault."""
    for stage in found.stages.values():
        for instance in stage.instances.values():
            for at, shut in instance.shut:
                for root, member in sent:
                    if root in shut.lost:
                        yield Refusal(
                            at, found.number, member, root, reasons.UNAVAILABLE, stage.name, b""
                        )
