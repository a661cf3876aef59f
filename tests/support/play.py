"""Members that answer what a task asks of them, honestly unless a test says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from support.terms import WINDOW
from support.world import digest, secret_of
from tallystick.codec import decode, encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.ledger.collect.attest import ATTEST_DOMAIN
from tallystick.ledger.collect.beacon import seal_of
from tallystick.ledger.collect.notes import Forfeited, Note, Paid, RoundEnded, Shut
from tallystick.ledger.collect.row import COSIGN_DOMAIN
from tallystick.ledger.collect.rows import OUTPUTS, RECORDS, STAGES, MemberRow
from tallystick.ledger.collect.view import TaskView, attested_message, inputs_root
from tallystick.ledger.contracts import accounts
from tallystick.ledger.messages import Collect, Entry, Open, Opening, ProposeTask
from tallystick.ledger.terms import task_id
from tallystick.mechanisms.records import (
    Artefact,
    Attestation,
    Complaint,
    Opinion,
    Output,
    Seal,
)


@dataclass(frozen=True)
class Promise:
    """An attested output as a member computes it: what it signs, and what it later opens."""

    key: object
    inputs: bytes
    rule: str
    output: Output

    def signed_by(self, member, generation=0):
        message = attested_message(self.key, self.inputs, self.rule, self.output.root)
        return Attestation(keys.sign(secret_of(member, generation), ATTEST_DOMAIN, message))

    def entry(self, record):
        return Entry(self.key.phase, self.key.round, self.key.stage, record, self.key.group)


class Play:
    """One task, proposed by its owner, with the means to answer it.

    Where it costs privacy, every member has a data set with a ``budget``, billionths of epsilon.
    """

    def __init__(self, world, terms, budget=2**62):
        self.world, self.terms = world, terms
        if any(each.rule == "join/dataset/1" for each in terms.setup):
            for name in terms.parties:
                world.declare(name, budget)
        world.accept(terms.owner, ProposeTask(terms))
        self.task = task_id(terms)

    @property
    def row(self):
        return self.world.row(self.task)

    @property
    def view(self):
        return self.world.view(self.task)

    @property
    def status(self):
        return self.row.status

    @property
    def names(self):
        return self.terms.parties

    @property
    def where(self):
        """Return (phase, round, stage, window) of the first open stage."""
        row = self.row
        if not row.open:
            return (row.phase, row.round, "", "")
        key = row.open[0]
        return (key.phase, key.round, key.stage, self.world.stage(key).window)

    def notes(self, kind=None):
        found = [decode(Note, leaf) for leaf in self.world.leaves.get(self.task, [])]
        return [note for note in found if kind is None or isinstance(note, kind)]

    def output(self, name, number=None, phase=1):
        number = self.row.round if number is None else number
        return self.world.state.get(OUTPUTS, self.task, phase, number, name)

    def records(self, key, member):
        return self.world.state.get(RECORDS, key, member) or MemberRow()

    def bond(self, member):
        return accounts.bond_of(self.world.state, self.task, member)

    def forfeited(self, member=None):
        return sum(note.micros for note in self.notes(Forfeited) if member in {None, note.member})

    def paid(self, what="pay"):
        found = {}
        for note in self.notes(Paid):
            if note.what == what:
                found[note.member] = found.get(note.member, 0) + note.micros
        return found

    def voids(self):
        return [note.cause for note in self.notes(RoundEnded) if note.cause]

    def shuts(self, stage, window, number=None):
        return [
            note
            for note in self.notes(Shut)
            if (note.key.stage, note.window) == (stage, window) and number in {None, note.key.round}
        ]

    # --- what a member sends ------------------------------------------------------------------

    def record(self, key, member, flavour=""):
        """Return the record a member would give to a stage that asks for one."""
        view = self.view
        step = view.plan.find(key.phase, key.stage)
        if step.rule.record is Artefact:
            if step.enrols:
                return Artefact(digest("data", member), 0)
            if step.rule.id.startswith(("join/", "submit/commitment")):
                return Artefact(self.task, 0)
            parent = view.parent(step)[0]
            root = digest("update", member, key.stage, key.round, flavour)
            return Artefact(root, 100, (parent,) if parent else ())
        if step.rule.record is Complaint:
            return Complaint()
        listed = view.inputs(step, key.group).of[0]
        return Opinion(listed.root, self.vector(step, listed, member))

    @staticmethod
    def vector(step, listed, member):
        open_to = [subject.live and subject.author != member for subject in listed.subjects]
        if step.rule.id == "score/own-data/1":
            return (5000, *(6000 if ok else None for ok in open_to))
        chosen = open_to.index(True) if any(open_to) else -1
        return tuple(1 if at == chosen else None for at in range(len(open_to)))

    @staticmethod
    def salt(key, member):
        return sha256("salt", encode(key), member.encode())

    def entry(self, key, member, *, flavour="", record=None, salt=None):
        """Return what a stage's open window asks of a member, whether or not it has answered."""
        stage = self.world.stage(key)
        step = self.view.plan.find(key.phase, key.stage)

        def of(content, opened=b""):
            return Entry(key.phase, key.round, key.stage, content, key.group, opened)

        if stage.window == "hold":
            lost = self.world.lost
            have = tuple(int(subject.id not in lost) for subject in stage.listed.subjects)
            return of(Opinion(stage.subject, have))
        if step.cosign:
            secret = secret_of(member, self.world.generations.get(member, 0))
            return of(Attestation(keys.sign(secret, COSIGN_DOMAIN, stage.subject)))
        record = self.record(key, member, flavour) if record is None else record
        salt = self.salt(key, member) if salt is None else salt
        if stage.window == "seal":
            return of(Seal(seal_of(key, record, member, salt)))
        return of(record, salt if stage.window == "reveal" else b"")

    def owes(self, key, member):
        """Whether a stage's open window still waits for a member."""
        stage = self.world.stage(key)
        row = self.records(key, member)
        if stage.window == "hold":
            holders = [seat.member for seat in self.view.roster(self.terms.holders)]
            return member in holders and row.held is None
        if member not in {seat.member for seat in stage.roster}:
            return False
        if stage.window == "seal":
            return not row.seal
        if stage.window == "reveal":
            return bool(row.seal) and row.record is None
        return stage.window == "record" and row.record is None and not row.signatures

    def duties(self, member):
        """Return the entries that open windows ask of a member, and the signatures it can give."""
        if self.status != "running":
            return []
        owed = [self.entry(key, member) for key in self.row.open if self.owes(key, member)]
        for promise in self.promises():
            seats = {seat.member for seat in self._signers(promise)}
            if member in seats and not self.records(promise.key, member).signatures:
                generation = self.world.generations.get(member, 0)
                owed.append(promise.entry(promise.signed_by(member, generation)))
        return owed

    def _signers(self, promise):
        view = self.view
        step = view.plan.find(promise.key.phase, promise.key.stage)
        return view.roster(step.stage.who, promise.key.group)

    # --- attested stages ----------------------------------------------------------------------

    def promises(self):
        """Return the attested outputs that follow from what is known now, in order."""
        row, view = self.row, self.view
        step = view.step
        if row.status != "running" or step is None:
            return []
        if step.attested:
            return self._walk({}, row.position)
        stages = [self.world.stage(key) for key in row.open]
        if not step.held or any(stage.window not in {"hold", "done"} for stage in stages):
            return []
        parts = [stage.output or stage.listed for stage in stages]
        kept = tuple(
            subject
            for part in parts
            for subject in part.subjects
            if subject.id not in self.world.lost
        )
        return self._walk({step.stage.name: Output(kept)}, row.position + 1)

    def _walk(self, assumed, position):
        row, found = self.row, []
        for step in self.view.plan.phases[row.phase][position:]:
            view = TaskView(self.world.state, row, self.terms, assumed)
            local = not (step.attested or step.on_ledger)
            if local or step.writes or step.rule.id == "decide/test-crash/1":
                break
            known = [view.output(text, step.phase, step.position) for text in step.stage.of]
            if step.attested and known and not any(each.live for each in known):
                assumed = {**assumed, step.stage.name: Output()}
                continue
            outputs = []
            for group in view.groups(step):
                inputs = view.inputs(step, group)
                outputs.append(step.rule.fold((), inputs))
                key = view.key(step, group)
                if step.attested and not self._is_done(key):
                    promise = Promise(key, inputs_root(inputs), step.rule.id, outputs[-1])
                    found.append(promise)
            good = [output for output in outputs if not output.void]
            if not good:
                break
            joined = tuple(subject for output in good for subject in output.subjects)
            assumed = {**assumed, step.stage.name: Output(joined, good[0].effects)}
        return found

    def _is_done(self, key):
        stage = self.world.state.get(STAGES, key)
        return stage is not None and stage.window == "done"

    def opening(self, promises=None):
        """Return the message that opens the outputs which enough have signed."""
        row = self.row
        wanted = self.promises() if promises is None else promises
        signed = []
        for promise in wanted:
            seats = {seat.member for seat in self._signers(promise)}
            stage = self.world.state.get(STAGES, promise.key)
            if stage is not None:
                seats = {seat.member for seat in stage.roster}
            got = sum(bool(self.records(promise.key, name).signatures) for name in seats)
            if 3 * got <= 2 * len(seats):
                break
            signed.append(Opening(promise.key.stage, promise.key.group, promise.output))
        return Open(self.task, row.phase, row.round, tuple(signed)) if signed else None

    # --- driving ------------------------------------------------------------------------------

    def send(self, member, *entries):
        """Send entries in one transaction, in the next block."""
        return self.world.send(member, Collect(self.task, tuple(entries)))

    def answer(self, *members):
        """Let these members send all that is asked of them; return whether anybody had to."""
        sent = False
        for member in members:
            owed = self.duties(member)
            if owed:
                self.send(member, *owed)
                sent = True
        return sent

    def open(self):
        """Let somebody open what can be opened, if the stage that is open is attested."""
        step = self.view.step if self.status == "running" else None
        message = self.opening() if step is not None and step.attested else None
        if message is not None:
            self.world.send(self.names[0], message)
        return message is not None

    def block(self, *absent, dt=None):
        """Let everybody but ``absent`` act, then seal; time passes fast when nobody acts."""
        acted = self.answer(*(name for name in self.names if name not in absent))
        if not acted:
            acted = self.open()
        return self.world.seal(dt if dt is not None else 1000 if acted else WINDOW)

    def until(self, *where, absent=(), limit=400):
        """Play on until a stage (and window) is open, or the task has ended."""
        for _ in range(limit):
            here = self.where
            if self.status != "running" or here[2 : 2 + len(where)] == where:
                return here
            self.block(*absent)
        msg = f"still at {self.where}"
        raise AssertionError(msg)

    def until_round(self, number, phase=1, absent=()):
        """Play on until a round begins, or the task has ended."""
        while self.status == "running" and (self.row.phase, self.row.round) < (phase, number):
            self.block(*absent)
        return self.where

    def finish(self, absent=(), limit=400):
        """Play to the end; return how it ended."""
        for _ in range(limit):
            if self.status != "running":
                return self.status
            self.block(*absent)
        msg = f"still at {self.where}"
        raise AssertionError(msg)
