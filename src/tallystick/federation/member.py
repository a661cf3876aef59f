"""A member at work: it follows the ledger and does what its rosters ask.

It restarts from its folder and the ledger. What it is about to commit to is journalled before the
seal leaves, and salts are derived from its own secret, so a crash never trains twice, loses a bond
or contradicts a seal. Scoring and attesting never wait for training.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, cast

from tallystick.crypto import keys
from tallystick.errors import TallyError, UnavailableError
from tallystick.federation.arrays import TrainerError
from tallystick.federation.carrier import SHARED
from tallystick.federation.conduct import HONEST, Moment
from tallystick.federation.desk import MemberDesk, StillTrainingError, check_initial_model
from tallystick.federation.foresight import Foreseen, foresee
from tallystick.federation.habits import Habits
from tallystick.federation.journal import Journal
from tallystick.federation.judging import judge
from tallystick.federation.knowledge import StageKnowledge
from tallystick.federation.openings import openings
from tallystick.federation.outbox import Outbox, Said
from tallystick.federation.providing import provide
from tallystick.ledger.collect.attest import ATTEST_DOMAIN
from tallystick.ledger.collect.beacon import seal_of
from tallystick.ledger.collect.row import COSIGN_DOMAIN
from tallystick.ledger.collect.rows import LIVE, RECORDS, STAGES, MemberRow
from tallystick.ledger.collect.view import TaskView, attested_message, view_task
from tallystick.ledger.contracts import budgets
from tallystick.ledger.messages import Collect, Entry, Message, Open, Opening, entry_of
from tallystick.ledger.terms import APPROVE
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
from tallystick.storage.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from tallystick.consensus.engine import Engine
    from tallystick.federation.arrays import Arrays
    from tallystick.federation.habits import Identity
    from tallystick.federation.trainer import Trainer
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.rows import StageRow
    from tallystick.mechanisms.rule import Inputs, LocalRule
    from tallystick.tensors.spec import ModelSpec
    from tallystick.tensors.workbench import Workbench

__all__ = ["Member"]

LOG = logging.getLogger(__name__)
Sent: TypeAlias = "Seal | Artefact | Opinion | Attestation | Complaint"
FIRST_OPENERS = 3
MOST_REASON_BYTES = 512


class Member:
    """One organisation's seat in every task whose terms name it."""

    def __init__(
        self,
        identity: Identity,
        engine: Engine,
        trainer: Trainer,
        workbench: Workbench,
        folder: Path | None,
        habits: Habits | None = None,
    ) -> None:
        """Open the folder and go on where it left off; without one it remembers while it lives.

        Raises
        ------
        UnavailableError
            Another process works as this member, or its journal is damaged.
        """
        with ExitStack() as opened:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                opened.enter_context(closing(Lock(folder)))
            journal = Journal(None if folder is None else folder / "journal")
            self._journal = opened.enter_context(closing(journal))
            self._opened_folder = opened.pop_all()
        self.identity = identity
        self._engine = engine
        self._trainer = trainer
        self._workbench = workbench
        self._habits = habits or Habits()
        before = self._journal.flush if self._habits.flush else _nothing
        self._outbox = Outbox(identity, engine, before)
        self._desks: dict[bytes, MemberDesk] = {}
        self._passed: dict[tuple[Key, int], Complaint] = {}  # turns that failed once and for all
        self._told: dict[bytes, str] = {}  # what was logged last about a task
        self._awaits = False
        self.wake: int | None = None  # block time at which it wants to look again

    def flush(self) -> None:
        """Return when what this member may have committed to survives power loss."""
        self._journal.flush()

    def close(self) -> None:
        """End what is under way and close the folder."""
        for desk in self._desks.values():
            desk.close()
        self._opened_folder.close()

    @property
    def busy(self) -> bool:
        """Whether a child that this member waits for trains; `step` looks again."""
        return self._awaits or any(desk.is_training for desk in self._desks.values())

    def step(self, *, together: bool = False) -> int:
        """Look at the ledger's newest state and submit what is owed; return how much was taken.

        What goes wrong with one task costs a turn in that task and nothing in any other.

        Parameters
        ----------
        together
            Send nothing while `busy`, so that what is sent does not depend on which child ends
            first.
        """
        state = self._engine.state
        self._outbox.settle()
        self._awaits = False
        self.wake = None
        owed: list[tuple[Message, list[Hashable]]] = []
        for task in state.get(LIVE) or ():
            try:
                view = view_task(state, task)
                if view is not None and self._takes_part(view):
                    owed.extend(self._serve(view))
            except TallyError as error:
                self._tell(task, "cannot serve", error)
        for desk in self._desks.values():
            desk.end_unasked()
        if together and self.busy:
            return 0
        for message, marks in owed:
            self._outbox.send(message, marks)
        return 0 if self._outbox.found_no_room else len(owed)

    def _takes_part(self, view: TaskView) -> bool:
        named = self._habits.only in {"", view.terms.name}
        return named and self.identity.member in view.terms.parties

    def _tell(self, task: bytes, what: str, error: TallyError) -> None:
        """Log what is wrong with a task, once as long as it is the same."""
        told = f"{what}: {error}"
        if self._told.get(task) != told:
            self._told[task] = told
            name, short = self.identity.member, task.hex()[:12]
            LOG.warning("%s: task %s: %s", name, short, told, exc_info=error)

    def _serve(self, view: TaskView) -> list[tuple[Message, list[Hashable]]]:
        """Return the messages this member owes a task, each with its marks."""
        step = view.step
        if step is None:
            return []
        if self._habits.carrier is not SHARED:
            later = provide(
                view, step, self.identity.member, self._habits.carrier, self._engine.now
            )
            if later is not None:
                self._look_again(later)
        said: list[Said] = []
        listed: Output | None = None
        blobs: tuple[bytes, ...] = ()
        for key in view.row.open:
            stage = view.state.get(STAGES, key)
            if stage is None or stage.window == "done":
                continue
            said.extend(self._answer(view, step, stage))
            listed = stage.listed if stage.window == "hold" else None
            blobs = stage.blobs
        foreseen: list[Foreseen] = []
        if step.attested or (listed is not None and len(view.row.open) == 1):
            foreseen = self._foresee(view, listed, blobs)
            said.extend(self._attest(view, foreseen))
        task, phase, number = view.row.id, view.row.phase, view.row.round
        owed: list[tuple[Message, list[Hashable]]] = []
        for part in self._outbox.apart(said):
            entries = tuple(cast("Entry", each.part) for each in part)
            owed.append((Collect(task, entries), [each.mark for each in part]))
        for part in self._outbox.apart(self._open(view, step, foreseen)):
            opened = tuple(cast("Opening", each.part) for each in part)
            owed.append((Open(task, phase, number, opened), [each.mark for each in part]))
        return owed

    def _answer(self, view: TaskView, step: Step, stage: StageRow) -> list[Said]:
        """Return what this member owes the open window, if anything."""
        key, me = stage.key, self.identity.member
        if stage.window == "attest" or not self._present_at(step, stage.key, stage.window):
            return []
        mark = ("record", key, stage.window, stage.tries)
        if self._outbox.has_said(mark):
            return []
        row = view.state.get(RECORDS, key, me) or MemberRow()
        seated = any(seat.member == me for seat in stage.roster)
        record: Sent | None = None
        salt = b""
        if stage.window == "hold":
            holders = {seat.member for seat in view.roster(view.terms.holders)}
            if me in holders and row.held is None:
                record = self._hold(view, step, stage)
        elif seated and stage.window == "reveal" and row.seal and row.record is None:
            record = self._journal.get(key)
            salt = self.identity.salt(key)
        elif seated and step.cosign and not row.signatures:
            signed = keys.sign(self.identity.secret, COSIGN_DOMAIN, stage.subject)
            record = Attestation(signed)
        elif seated and not (row.seal or row.record or row.declined or step.cosign):
            record = self._produce(view, step, stage)
        if record is None or not self._is_delivered(view, step, stage, record):
            return []
        return [Said(mark, entry_of(key, record, salt))]

    def _is_delivered(self, view: TaskView, step: Step, stage: StageRow, record: Sent) -> bool:
        """Whether what is said can be said: bytes it names can be had, or time is short."""
        if not isinstance(record, Artefact) or not record.size:
            return True
        length = step.stage.reveal if stage.window == "reveal" else step.stage.within
        here = self._habits.carrier.deliver(view.row.id, record.root)
        return here or self._is_late(view, stage, length)

    def _is_late(self, view: TaskView, stage: StageRow, length: int) -> bool:
        """Whether less than a quarter of the window is left; else look again when that is so."""
        last = stage.ends + view.row.excess - length // 4
        if self._engine.now >= last:
            return True
        self._look_again(last)
        return False

    def _look_again(self, time: int) -> None:
        self.wake = time if self.wake is None else min(self.wake, time)

    def _produce(
        self, view: TaskView, step: Step, stage: StageRow
    ) -> Seal | Artefact | Opinion | Complaint | None:
        """Return the record, or the seal over it, making it first if it is not journalled."""
        key = stage.key
        if stage.window == "reveal" or (key.phase == SETUP and not self._habits.approve):
            return None
        try:
            record = self.prepared(view, step, stage)
        except StillTrainingError:
            self._awaits = True
            return None
        if record is None or (key, stage.tries) in self._passed or not step.stage.sealed:
            return record
        return Seal(seal_of(key, record, self.identity.member, self.identity.salt(key)))

    def prepared(
        self, view: TaskView, step: Step, stage: StageRow
    ) -> Artefact | Opinion | Complaint | None:
        """See `Peer.prepared`."""
        known = self._passed.get((stage.key, stage.tries)) or self._journal.get(stage.key)
        return known or self._make(view, step, stage)

    def trained(self, view: TaskView, step: Step, inputs: Inputs) -> Arrays:
        """See `Peer.trained`."""
        parent = self._workbench.preview(inputs.parent, cast("ModelSpec", inputs.model))
        protection = getattr(step.rule, "protection", None)
        return self._desk(view, step).trained(inputs, parent, protection).parameters

    def _make(
        self, view: TaskView, step: Step, stage: StageRow
    ) -> Artefact | Opinion | Complaint | None:
        """Return the record for a stage, journalled, or why this member passes its turn."""
        key = stage.key
        try:
            if key.phase == SETUP and key.stage == APPROVE:
                self._check_initial_model(view)
            if step.charge is not None:  # pass rather than train what the ledger would not take
                me = self.identity.member
                budgets.charged(view.state, me, view.dataset(step, me), step.charge)
            record = self._act(view, step, key)
        except StillTrainingError:
            raise
        except UnavailableError as error:
            LOG.info("%s waits: %s", self.identity.member, error)
            return None
        except TallyError as error:
            passed = self._passed[key, stage.tries] = self._pass(error)
            return passed
        if record is not None:
            self._journal.put(key, record)
        return record

    def _check_initial_model(self, view: TaskView) -> None:
        spec = view.terms.model
        if spec is not None and not self._habits.carrier.fetch(view.row.id, spec.root, spec.size):
            msg = "the initial model is not here yet"
            raise UnavailableError(msg)
        check_initial_model(view.terms, self._workbench.blobs)

    def _pass(self, error: TallyError) -> Complaint:
        """Say why this member passes its turn, so that nobody waits for it."""
        of_trainer = isinstance(error, TrainerError)
        told = f"\n{error.traceback.rstrip()}" if of_trainer and error.traceback else ""
        LOG.warning("%s loses its turn: %s%s", self.identity.member, error, told)
        reason = f"{'trainer' if of_trainer else error.slug}: {error}"
        return Complaint(evidence=reason.encode()[:MOST_REASON_BYTES])

    def _act(self, view: TaskView, step: Step, key: Key) -> Artefact | Opinion | Complaint | None:
        inputs = view.inputs(step, key.group)
        conduct = self._habits.conduct
        desk = self._desk(view, step)
        known = None if conduct is HONEST else self._knowledge(view, step, key)
        desk.knowledge = known
        if known is not None and step.held and step.stage.parent:
            chosen = conduct.choose_artefact(known)
            if chosen is not None:
                return chosen
            inputs = replace(inputs, parent=conduct.choose_parent(known))
        record = cast("LocalRule", step.rule).act(inputs, desk)
        if isinstance(record, Opinion) and len(record.vector) >= len(inputs.subjects):
            return judge(record, inputs, conduct, known or self._knowledge(view, step, key))
        return record

    def _hold(self, view: TaskView, step: Step, stage: StageRow) -> Opinion | None:
        """Say what this member holds; not before it has tried to fetch what it lacks."""
        desk, carrier = self._desk(view), self._habits.carrier
        subjects = () if stage.listed is None else stage.listed.subjects
        sized = [found for found in subjects if found.id in stage.blobs]
        mine = [found.id for found in sized if found.author == self.identity.member]
        fetched = [carrier.fetch(view.row.id, found.id) for found in sized]
        delivered = [carrier.deliver(view.row.id, root) for root in mine]
        if not all((*fetched, *delivered)) and not self._is_late(view, stage, step.stage.hold):
            return None
        vector = [int(found.id not in stage.blobs or desk.holds(found.id)) for found in subjects]
        known = self._knowledge(view, step, stage.key)
        vector = self._habits.conduct.poison_holds(vector, subjects, known)
        return Opinion(stage.subject, tuple(vector))

    def _foresee(
        self, view: TaskView, listed: Output | None, blobs: tuple[bytes, ...]
    ) -> list[Foreseen]:
        desk = self._desk(view)
        if not all(desk.holds(root) for root in blobs):
            return []
        try:
            foreseen = list(foresee(view, listed, self._workbench, self._habits.cache))
        except TallyError as error:
            self._tell(view.row.id, "cannot attest", error)
            return []
        conduct = self._habits.conduct
        if conduct is HONEST:
            return foreseen

        def claimed(found: Foreseen) -> Foreseen:
            known = self._knowledge(view, found.step, found.key)
            output = conduct.poison_output(found.output, found.step.kind, known)
            return replace(found, output=output)

        return [claimed(found) for found in foreseen]

    def _attest(self, view: TaskView, foreseen: list[Foreseen]) -> list[Said]:
        me = self.identity.member
        said: list[Said] = []
        for found in foreseen:
            key = found.key
            if not self._present_at(found.step, key, "attest"):
                continue
            seats = view.roster(found.step.stage.who, key.group)
            if all(seat.member != me for seat in seats):
                continue
            message = attested_message(key, found.inputs, found.step.rule.id, found.output.root)
            signature = keys.sign(self.identity.secret, ATTEST_DOMAIN, message)
            signature = self._habits.conduct.poison_signature(signature)
            row = view.state.get(RECORDS, key, me) or MemberRow()
            mark = ("attest", key, signature)
            if (self.identity.key, signature) in row.signatures or self._outbox.has_said(mark):
                continue
            said.append(Said(mark, entry_of(key, Attestation(signature))))
        return said

    def _open(self, view: TaskView, step: Step, foreseen: list[Foreseen]) -> list[Said]:
        """Return the outputs to open: they have their signatures, and it is this member's turn."""
        if not step.attested or not foreseen:
            return []
        if not self._present_at(step, foreseen[0].key, "attest"):
            return []
        ready = openings(view, foreseen)
        if not ready or not self._may_open(view, step, foreseen[0].key):
            return []
        return [each for each in ready if not self._outbox.has_said(each.mark)]

    def _may_open(self, view: TaskView, step: Step, key: Key) -> bool:
        """Whether it is this member's turn: the first three by ticket at once, the rest later."""
        order = sorted(view.terms.parties, key=lambda name: ticket(view.row.id, key, name))
        if self.identity.member in order[:FIRST_OPENERS]:
            return True
        stage = view.state.get(STAGES, key)
        if stage is None:
            return False
        later = stage.ends - step.stage.within + step.stage.within // 4 + view.row.excess
        if self._engine.now >= later:
            return True
        self._look_again(later)
        return False

    def _present_at(self, step: Step, key: Key, window: str) -> bool:
        if key.phase == SETUP:
            return True
        moment = Moment(step.kind, key, window, self.identity.salt_secret)
        return self._habits.conduct.present(moment)

    def _knowledge(self, view: TaskView, step: Step, key: Key) -> StageKnowledge:
        return StageKnowledge(
            self.identity.member,
            self._habits.allies,
            (view, step, key),
            self._workbench.blobs,
            self._habits.peers,
        )

    def _desk(self, view: TaskView, step: Step | None = None) -> MemberDesk:
        """Return the desk for a task; with a step, its trainer may take that window's length."""
        desk = self._desks.get(view.row.id)
        if desk is None:
            habits = self._habits
            desk = self._desks[view.row.id] = MemberDesk(
                self.identity.member,
                self._trainer,
                view.terms,
                self._workbench,
                habits.conduct,
                children=habits.children if habits.isolate else None,
                dataset=habits.dataset,
            )
            desk.noise_secret = habits.noise_secret
        if step is not None:
            desk.limit_seconds = self._habits.limit_seconds or step.stage.within / 1000
        return desk

    @property
    def waits(self) -> bool:
        """Whether something it sent is not in a block yet."""
        return self._outbox.waits

    @property
    def found_no_room(self) -> bool:
        """Whether something it had to say was not taken: it is said again by the next `step`."""
        return self._outbox.found_no_room

    def rekey(self, identity: Identity) -> None:
        """Work with another key of the same member from now on."""
        self.identity = identity
        self._outbox.rekey(identity)

    def send(self, message: Message) -> bytes:
        """Submit a message of the member's own choosing; return the transaction's hash.

        Raises
        ------
        RetryLaterError
            There is no room for it now.
        """
        return self._outbox.send(message)


def _nothing() -> None:
    """Leave flushing to the process that seals."""
