"""Read a task's log: from its records to a `TaskHistory`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.crypto.merkle_list import Peaks
from tallystick.errors import DecodeError
from tallystick.ledger.collect.notes import (
    Advanced,
    Attested,
    Charged,
    Closed,
    Finished,
    Forfeited,
    Note,
    Opened,
    Paid,
    RoundEnded,
    Shut,
    Signed,
)
from tallystick.ledger.collect.rows import OUTPUTS, ModelRef, TaskRow
from tallystick.ledger.collect.view import TaskView
from tallystick.ledger.messages import Collect, Open, ProposeTask
from tallystick.ledger.state import State
from tallystick.ledger.terms import task_id
from tallystick.mechanisms.records import ROUND, Key
from tallystick.provenance.facts import (
    At,
    Instance,
    Refusal,
    RoundHistory,
    Sent,
    StageHistory,
    TaskHistory,
    Transmission,
)
from tallystick.provenance.leaf import parse_leaf, parse_signed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.consensus.engine import Engine

__all__ = [
    "At",
    "Instance",
    "Refusal",
    "RoundHistory",
    "Sent",
    "StageHistory",
    "TaskHistory",
    "Transmission",
    "read_engine",
    "read_history",
]


def read_engine(engine: Engine, task: bytes) -> TaskHistory:
    """Return the history of a task on a ledger at hand; raises as `read_history`."""
    return read_history(engine.leaves(task))


def read_history(leaves: Iterable[tuple[int, bytes]]) -> TaskHistory:
    """Return the history in a task's log.

    Parameters
    ----------
    leaves
        Every record with the height of its block, from the first.

    Raises
    ------
    DecodeError
        No log of a task: it does not begin with terms, or a record is out of place.
    """
    reader: _Reader | None = None
    for number, (height, leaf) in enumerate(leaves):
        note = parse_leaf(leaf)
        at = At(height, number)
        if reader is None:
            reader = _Reader(_terms(note), at)
        reader.log = reader.log.append(leaf)
        reader.read(at, note)
    if reader is None:
        msg = "the log is empty"
        raise DecodeError(msg)
    reader.history.leaves = reader.log.size
    reader.history.log_root = reader.log.root
    return reader.history


def _terms(note: object) -> ProposeTask:
    message = parse_signed(note.wire).message if isinstance(note, Signed) else None
    if not isinstance(message, ProposeTask):
        msg = "a task's log begins with its terms"
        raise DecodeError(msg)
    return message


class _Reader:
    """Reads record by record, keeping as much of the task's row as references need."""

    def __init__(self, proposal: ProposeTask, at: At) -> None:
        terms = proposal.terms
        task = task_id(terms)
        self.history = TaskHistory(task, terms, at)
        self.log = Peaks()
        self.state = State()
        model = None if terms.model is None else ModelRef(terms.model.root, terms.model.size)
        self.model, self.draft = model, None
        self.completed: tuple[int, ...] = ()

    def read(self, at: At, note: Note) -> None:
        """Take one record."""
        match note:
            case Signed():
                self._signed(at, note)
            case Closed():
                self._closed(at, note)
            case Opened() | Shut() | Attested():
                self._of_instance(at, note)
            case RoundEnded():
                self._ended(at, note)
            case Advanced():
                self._round(note.key.phase, note.key.round).beacons.append((at, note))
            case Forfeited():
                self._round(note.key.phase, note.key.round).forfeited.append((at, note))
            case Charged():
                self._round(note.key.phase, note.key.round).charged.append((at, note))
            case Paid():
                self._latest().paid.append((at, note))
            case Finished():
                self.history.finished = (at, note)

    def _signed(self, at: At, note: Signed) -> None:
        body = parse_signed(note.wire)
        message = body.message
        self.history.transmissions.append(Transmission(at, body.sender, body.key, message))
        if isinstance(message, Collect):
            for entry in message.entries:
                key = Key(message.task, entry.phase, entry.round, entry.stage, entry.group)
                self._instance(key).sent.append(Sent(at, body.sender, body.key, entry))
        elif isinstance(message, Open):
            self._round(message.phase, message.round)

    def _of_instance(self, at: At, note: Opened | Shut | Attested) -> None:
        instance = self._instance(note.key)
        if isinstance(note, Shut):
            instance.shut.append((at, note))
            return
        if isinstance(note, Attested):
            instance.attested = (at, note)
            return
        instance.opened = instance.opened or at
        instance.seats = tuple((seat.member, seat.group) for seat in note.seats)
        instance.log = self.log

    def _closed(self, at: At, note: Closed) -> None:
        stage = self._stage(note.phase, note.round, note.stage)
        step = self.history.plan.find(note.phase, note.stage)
        if step is None:
            msg = f"record {at.number} closes a stage '{note.stage}' that the terms do not have"
            raise DecodeError(msg)
        view = self._view(note, step.position)
        stage.closed, stage.output, stage.step = at, note.output, step
        stage.inputs = view.inputs(step)
        places = [view.find_source(text, step.phase, step.position) for text in step.stage.of]
        stage.sources = tuple(place and self._stage(*place) for place in places)
        key = (self.history.task, note.phase, note.round, note.stage)
        if note.output.void:
            return
        self.state.put(OUTPUTS, *key, row=note.output)
        live = note.output.live
        if step.yields_model and note.stage == self.history.plan.model_stage and live:
            size = live[0].columns[0] if live[0].columns else 0
            self.draft = ModelRef(live[0].id, max(0, size))

    def _ended(self, at: At, note: RoundEnded) -> None:
        self._round(note.phase, note.round).ended = (at, note)
        self.model, self.draft = note.model, None
        if note.phase == ROUND and not note.cause:
            self.completed = (*self.completed, note.round)

    def _view(self, note: Closed, position: int) -> TaskView:
        fields: dict[str, Any] = {
            "id": self.history.task,
            "name": self.history.terms.name,
            "owner": self.history.terms.owner,
            "status": "running",
            "phase": note.phase,
            "round": note.round,
            "position": position,
            "open": (),
            "beacon": bytes(32),
            "log": self.log,
            "completed": self.completed,
            "model": self.model,
            "draft": self.draft,
        }
        return TaskView(self.state, TaskRow(**fields), self.history.terms)

    def _latest(self) -> RoundHistory:
        if not self.history.rounds:
            return self._round(0, 0)
        return self.history.rounds[-1]

    def _round(self, phase: int, number: int) -> RoundHistory:
        for found in reversed(self.history.rounds):
            if (found.phase, found.number) == (phase, number):
                return found
        made = RoundHistory(phase, number)
        self.history.rounds.append(made)
        return made

    def _stage(self, phase: int, number: int, name: str) -> StageHistory:
        found = self._round(phase, number)
        if name not in found.stages:
            step = self.history.plan.find(phase, name)
            found.stages[name] = StageHistory(name, "" if step is None else step.rule.id)
        return found.stages[name]

    def _instance(self, key: Key) -> Instance:
        stage = self._stage(key.phase, key.round, key.stage)
        return stage.instances.setdefault(key.group, Instance(key))
