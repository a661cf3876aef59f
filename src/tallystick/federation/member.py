"""A member at work: it follows the ledger and does what its rosters ask.

It restarts from its folder and the ledger. What it is about to commit to is journalled before the
seal leaves, and salts are derived from its own secret, so a crash never trains twice, loses a bond
or contradicts a seal. Scoring and attesting never wait for training.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import msgspec

from tallystick.codec import encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.errors import RejectedError, UnavailableError
from tallystick.federation.arrays import TrainerError
from tallystick.federation.conduct import HONEST, Conduct
from tallystick.federation.desk import MemberDesk
from tallystick.federation.foresight import FoldCache, Foreseen, foresee
from tallystick.federation.journal import Journal
from tallystick.ledger.collect.attest import ATTEST_DOMAIN
from tallystick.ledger.collect.beacon import seal_of
from tallystick.ledger.collect.row import COSIGN_DOMAIN
from tallystick.ledger.collect.rows import LIVE, RECORDS, STAGES, MemberRow
from tallystick.ledger.collect.view import TaskView, attested_message, view_task
from tallystick.ledger.messages import Collect, Entry, Message, Open, Opening
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.records import (
    SETUP,
    Artefact,
    Attestation,
    Complaint,
    Key,
    Opinion,
    Output,
    Seal,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.consensus.engine import Engine
    from tallystick.federation.trainer import Trainer
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.rows import StageRow
    from tallystick.ledger.state import State
    from tallystick.mechanisms.rule import LocalRule
    from tallystick.tensors.workbench import Workbench

__all__ = ["Identity", "Member"]

LOG = logging.getLogger(__name__)
FIRST_OPENERS = 3
MOST_REASON_BYTES = 512


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a member is: its id, the index and secret of its key, and the secret behind its salts."""

    member: str
    key: int
    secret: bytes
    salt_secret: bytes

    def salt(self, key: Key) -> bytes:
        """Return the salt for a stage: the same after a restart, unknown to everybody else."""
        return sha256("salt", self.salt_secret, encode(key))


@dataclass(slots=True)
class Habits:
    """How a member runs: isolation of its trainer, its conduct, and what it shares in a process.

    Attributes
    ----------
    isolate, limit_seconds
        Train in a child process; how long a trainer may take, the window's length by default.
    approve
        Approve every task whose terms name this member.
    cache
        Attested folds shared with other members of the same process.
    allies
        Members a dishonest one works with.
    flush
        Whether the member flushes its journal itself before anything leaves; where several share a
        process, that process flushes for all before it seals.
    """

    isolate: bool = False
    limit_seconds: float | None = None
    approve: bool = True
    conduct: Conduct = HONEST
    cache: FoldCache = field(default_factory=FoldCache)
    allies: frozenset[str] = frozenset()
    flush: bool = True


class Member:
    """One organisation's seat in every task whose terms name it."""

    def __init__(
        self,
        identity: Identity,
        engine: Engine,
        trainer: Trainer,
        workbench: Workbench,
        folder: Path,
        habits: Habits | None = None,
    ) -> None:
        """Open the folder and go on where it left off."""
        self.identity = identity
        self._engine = engine
        self._trainer = trainer
        self._workbench = workbench
        self._habits = habits or Habits()
        self._journal = Journal(folder / "journal")
        self._sent: set[tuple[Key, str, int]] = set()
        self._opened: set[tuple[bytes, bytes]] = set()
        self._desks: dict[bytes, MemberDesk] = {}
        self._nonce = 0
        self._waiting: dict[bytes, int] = {}  # transactions without an outcome: when they expire
        self.wake: int | None = None  # block time at which it wants to look again

    def flush(self) -> None:
        """Return when what this member may have committed to survives power loss."""
        self._journal.flush()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def step(self) -> int:
        """Look at the ledger's newest state and submit what is owed; return how much that was.

        While the outcome of what it submitted before is open, it waits: the state does not show
        yet what it has said.
        """
        if self._awaits():
            return 0
        state = self._engine.state
        self._nonce = last_nonce(state, self.identity.member, self.identity.key)
        self.wake = None
        sent = 0
        for task in state.get(LIVE) or ():
            view = view_task(state, task)
            if view is not None and self.identity.member in view.terms.parties:
                sent += self._serve(view)
        return sent

    def _awaits(self) -> bool:
        """Whether something it submitted is neither done, nor refused, nor expired."""
        self._waiting = {
            name: until
            for name, until in self._waiting.items()
            if self._engine.outcome(name) is None and self._engine.head.time <= until
        }
        return bool(self._waiting)

    def _serve(self, view: TaskView) -> int:
        step = view.step
        if step is None:
            return 0
        entries: list[Entry] = []
        listed: Output | None = None
        blobs: tuple[bytes, ...] = ()
        for key in view.row.open:
            stage = view.state.get(STAGES, key)
            if stage is None or stage.window == "done":
                continue
            entry = self._answer(view, step, stage)
            if entry is not None:
                entries.append(entry)
            listed = stage.listed if stage.window == "hold" else None
            blobs = stage.blobs
        foreseen: list[Foreseen] = []
        if step.attested or (listed is not None and len(view.row.open) == 1):
            foreseen = self._foresee(view, listed, blobs)
            entries.extend(self._attest(view, foreseen))
        sent = 0
        if entries:
            self._submit(Collect(view.row.id, tuple(entries)))
            sent += 1
        return sent + self._open(view, step, foreseen)

    def _answer(self, view: TaskView, step: Step, stage: StageRow) -> Entry | None:
        """Return what this member owes the open window, if anything."""
        key, me = stage.key, self.identity.member
        if stage.window == "attest" or not self._present_at(stage.key, stage.window):
            return None
        if (key, stage.window, stage.tries) in self._sent:
            return None
        row = view.state.get(RECORDS, key, me) or MemberRow()
        seated = any(seat.member == me for seat in stage.roster)
        record: Seal | Artefact | Opinion | Attestation | Complaint | None = None
        salt = b""
        if stage.window == "hold":
            holders = {seat.member for seat in view.roster(view.terms.holders)}
            if me in holders and row.held is None:
                record = self._hold(view, stage)
        elif seated and stage.window == "reveal" and row.seal and row.record is None:
            record = self._journal.get(key)
            salt = self.identity.salt(key)
        elif seated and step.cosign and not row.signatures:
            signed = keys.sign(self.identity.secret, COSIGN_DOMAIN, stage.subject)
            record = Attestation(signed)
        elif seated and not (row.seal or row.record or row.declined or step.cosign):
            record = self._produce(view, step, stage)
        if record is None:
            return None
        self._sent.add((key, stage.window, stage.tries))
        return Entry(key.phase, key.round, key.stage, record, key.group, salt)

    def _produce(
        self, view: TaskView, step: Step, stage: StageRow
    ) -> Seal | Artefact | Opinion | Complaint | None:
        """Return the record, or the seal over it, making it first if it is not journalled."""
        key = stage.key
        if stage.window == "reveal" or (key.phase == SETUP and not self._habits.approve):
            return None
        record = self._journal.get(key)
        if record is None:
            try:
                record = self._act(view, step, key)
            except UnavailableError as error:
                LOG.info("%s waits: %s", self.identity.member, error)
                return None
            except TrainerError as error:
                told = f"\n{error.traceback.rstrip()}" if error.traceback else ""
                LOG.warning("%s loses its turn: %s%s", self.identity.member, error, told)
                return Complaint(evidence=f"trainer: {error}".encode()[:MOST_REASON_BYTES])
            if record is None:
                return None
            self._journal.put(key, record)
        if not step.stage.sealed:
            return record
        return Seal(seal_of(key, record, self.identity.member, self.identity.salt(key)))

    def _act(self, view: TaskView, step: Step, key: Key) -> Artefact | Opinion | Complaint | None:
        inputs = view.inputs(step, key.group)
        conduct, me = self._habits.conduct, self.identity.member
        if conduct.copies and step.held and step.stage.parent:
            copied = self._copy(view, step)
            if copied is not None:
                return Artefact(copied.root, copied.size, (inputs.parent[0],), copied.weight)
        desk = self._desk(view)
        desk.limit_seconds = self._habits.limit_seconds or step.stage.within / 1000
        record = cast("LocalRule", step.rule).act(inputs, desk)
        if isinstance(record, Opinion):
            vector = conduct.poison_scores(
                list(record.vector), inputs.subjects, self._habits.allies
            )
            kept = tuple(
                None if subject.author == me else score
                for subject, score in zip(inputs.subjects, vector[1:], strict=True)
            )
            record = msgspec.structs.replace(record, vector=(vector[0], *kept))
        return record

    def _copy(self, view: TaskView, step: Step) -> Artefact | None:
        """Return somebody else's update of the last completed round, for a copier to reuse."""
        last = view.output(f"{step.stage.name}@-1", step.phase, step.position)
        for subject in last.subjects:
            if subject.author != self.identity.member and subject.columns[0]:
                return Artefact(subject.id, subject.columns[0], weight=subject.columns[1])
        return None

    def _hold(self, view: TaskView, stage: StageRow) -> Opinion:
        desk = self._desk(view)
        subjects = () if stage.listed is None else stage.listed.subjects
        vector = tuple(
            int(found.id not in stage.blobs or desk.holds(found.id)) for found in subjects
        )
        return Opinion(stage.subject, vector)

    def _foresee(
        self, view: TaskView, listed: Output | None, blobs: tuple[bytes, ...]
    ) -> list[Foreseen]:
        desk = self._desk(view)
        if not all(desk.holds(root) for root in blobs):
            return []
        return list(foresee(view, listed, self._workbench, self._habits.cache))

    def _attest(self, view: TaskView, foreseen: list[Foreseen]) -> list[Entry]:
        me = self.identity.member
        entries: list[Entry] = []
        for found in foreseen:
            key = found.key
            if not self._present_at(key, "attest"):
                continue
            seats = view.roster(found.step.stage.who, key.group)
            if all(seat.member != me for seat in seats):
                continue
            message = attested_message(key, found.inputs, found.step.rule.id, found.output.root)
            signature = keys.sign(self.identity.secret, ATTEST_DOMAIN, message)
            row = view.state.get(RECORDS, key, me) or MemberRow()
            if (self.identity.key, signature) in row.signatures:
                continue
            entries.append(
                Entry(key.phase, key.round, key.stage, Attestation(signature), key.group)
            )
        return entries

    def _open(self, view: TaskView, step: Step, foreseen: list[Foreseen]) -> int:
        """Open the outputs that have their signatures, if it is this member's turn to."""
        if not step.attested or not foreseen:
            return 0
        if not self._present_at(foreseen[0].key, "attest"):
            return 0
        openings: list[Opening] = []
        marks: list[bytes] = []
        for found in foreseen:
            seats = view.attesters(found.step, found.key.group, everybody=False)
            stage = view.state.get(STAGES, found.key)
            names = [seat.member for seat in (stage.roster if stage else seats)]
            signed = sum(
                bool((view.state.get(RECORDS, found.key, name) or MemberRow()).signatures)
                for name in names
            )
            if 3 * signed <= 2 * len(names):
                break
            openings.append(Opening(found.key.stage, found.key.group, found.output))
            marks.append(encode((found.key, found.inputs, signed)))
        if not openings or not self._may_open(view, step, foreseen[0].key):
            return 0
        mark = (view.row.id, b"".join(marks))
        if mark in self._opened:
            return 0
        self._opened.add(mark)
        self._submit(Open(view.row.id, view.row.phase, view.row.round, tuple(openings)))
        return 1

    def _may_open(self, view: TaskView, step: Step, key: Key) -> bool:
        """Whether it is this member's turn: the first three by ticket at once, the rest later."""
        order = sorted(view.terms.parties, key=lambda name: ticket(view.row.id, key, name))
        if self.identity.member in order[:FIRST_OPENERS]:
            return True
        stage = view.state.get(STAGES, key)
        if stage is None:
            return False
        later = stage.ends - step.stage.within + step.stage.within // 4 + view.row.excess
        if self._engine.head.time >= later:
            return True
        self.wake = later if self.wake is None else min(self.wake, later)
        return False

    def _present_at(self, key: Key, window: str) -> bool:
        if key.phase == SETUP:
            return True
        return self._habits.conduct.present(key.stage, window, key.round)

    def _desk(self, view: TaskView) -> MemberDesk:
        desk = self._desks.get(view.row.id)
        if desk is None:
            habits = self._habits
            desk = self._desks[view.row.id] = MemberDesk(
                self.identity.member,
                self._trainer,
                view.terms,
                self._workbench,
                habits.conduct,
                isolate=habits.isolate,
            )
        return desk

    def _submit(self, message: Message) -> bytes:
        """Sign and hand in a message; what is refused at once is logged, not retried."""
        if self._habits.flush:
            self._journal.flush()
        self._nonce += 1
        genesis = self._engine.head.chain
        body = Body(
            sender=self.identity.member,
            key=self.identity.key,
            nonce=self._nonce,
            valid_until=self._engine.head.time + self._engine.genesis.limits.validity // 2,
            message=message,
        )
        tx = sign_transaction(body, self.identity.secret, genesis)
        try:
            self._engine.submit(tx.wire)
        except RejectedError as error:
            LOG.warning("%s: refused: %s", self.identity.member, error)
        else:
            self._waiting[tx.hash] = body.valid_until
        return tx.hash

    def send(self, message: Message) -> bytes:
        """Submit a message of the member's own choosing; return the transaction's hash."""
        state: State = self._engine.state
        last = last_nonce(state, self.identity.member, self.identity.key)
        self._nonce = max(self._nonce, last)
        return self._submit(message)
