"""A task among members that are honest, absent, late, withholding, lying or sending junk.

Everything is drawn from one seed, so a history that fails can be run again.
"""

from __future__ import annotations

import random
from collections import Counter

import msgspec

from support.play import Play, Promise
from support.terms import RECIPES, WINDOW
from support.world import World, digest, rotation
from tallystick.codec import decode
from tallystick.errors import RejectedError
from tallystick.ledger import kernel as kernel_module
from tallystick.ledger.collect.notes import Charged, Forfeited, Paid, RoundEnded, Shut
from tallystick.ledger.collect.rows import STAGES, TASKS, StageRow, TaskRow
from tallystick.ledger.contracts import budgets
from tallystick.ledger.messages import (
    Accuse,
    BuyAccess,
    CloseTask,
    Collect,
    Entry,
    Grant,
    Open,
    Opening,
    ProposeChange,
    RegisterDataset,
    Transfer,
)
from tallystick.mechanisms.records import (
    Artefact,
    Attestation,
    Complaint,
    Opinion,
    Output,
    Pay,
    Seal,
)
from tallystick.mechanisms.theory.rdp import epsilon_of

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf")
PERSONAS = ("honest", "absent", "late", "withholding", "lying", "junk", "declining")
LONGEST = 600


class Chaos:
    """One task from a recipe and a seed; ``personas`` says who behaves how."""

    def __init__(self, recipe, seed, *, audited=True, make_world=World):
        self.random = random.Random(f"{recipe}/{seed}")
        names = NAMES[: self.random.randint(4, 7)]
        self.world = make_world(names, audited=audited)
        fields = {
            "members": names,
            "rounds": self.random.randint(1, 5),
            "gap": self.random.choice((WINDOW // 6, WINDOW // 2, WINDOW)),
            "read_fee": self.random.choice((0, 1000)),
        }
        lasts = (2**62, 17 * 10**8)[seed % 2]  # for ever, or for three charges
        self.play = Play(self.world, RECIPES[recipe](**fields), lasts)
        self.spent = {}
        worst = self.random.randint(0, len(names))
        self.personas = {
            name: "honest" if at >= worst else self.random.choice(PERSONAS)
            for at, name in enumerate(self.random.sample(names, len(names)))
        }
        self.shuffled = 0

    # --- one block ----------------------------------------------------------------------------

    def block(self):
        """Let everybody act as it is, then seal after a while that is short, long or very long."""
        for name in self.play.names:
            self._act(name)
        self._open()
        self._busy()
        self._check_order()
        pace = (0, 1, 1000, 1000, 1000, WINDOW // 3, WINDOW, 50 * WINDOW)
        self.world.seal(self.random.choice(pace))
        self._check_budgets()

    def run(self):
        """Play until the task ends; from some block on nobody does anything any more."""
        lively, blackout = self.random.choice((30, 80, 200, 200)), self.random.random() < 0.2
        for at in range(LONGEST):
            if self.play.status != "running":
                break
            if at == lively:
                self._silence(*(PERSONAS if blackout else PERSONAS[1:]))
            self.block()
        self._check_end()

    def _silence(self, *personas):
        """From now on nobody of these personas acts."""
        for name, persona in self.personas.items():
            if persona in personas:
                self.personas[name] = "absent"

    def _act(self, name):
        persona, luck = self.personas[name], self.random.random()
        owed = self.play.duties(name)
        if self.play.row.phase == 0 and luck < 0.95:  # else hardly any task starts
            persona = "honest"
        match persona:
            case "absent":
                owed = []
            case "late":
                owed = owed if luck < 0.3 else []
            case "withholding":
                owed = [entry for entry in owed if not entry.salt or luck < 0.3]
            case "declining":
                owed = [self._declined(entry) for entry in owed]
            case "lying":
                owed = [self._twisted(entry, name) for entry in owed]
            case "junk":
                self._junk(name)
                owed = owed if luck < 0.5 else []
            case _:
                pass
        self._send(name, owed)

    def _send(self, name, entries):
        for entry in entries:  # one by one: a refused one does not take the others with it
            self.play.send(name, entry)

    def _declined(self, entry):
        if isinstance(entry.record, Attestation) or self.random.random() < 0.5:
            return entry
        return msgspec.structs.replace(entry, record=Complaint(b"", b"no"), salt=b"")

    def _twisted(self, entry, name):
        """Return an entry with a lie in it, or as it is."""
        record, lie = entry.record, self.random.random()
        if lie < 0.4:
            return entry
        if isinstance(record, Seal):
            return msgspec.structs.replace(entry, record=Seal(digest("seal", lie)))
        if isinstance(record, Artefact):
            theirs = self.play.record(self._key(entry), self.random.choice(self.play.names))
            return msgspec.structs.replace(entry, record=theirs)
        if isinstance(record, Opinion):
            vector = tuple(self.random.choice((0, 1, None, 9000)) for _ in record.vector)
            return msgspec.structs.replace(entry, record=Opinion(record.subjects, vector))
        if isinstance(record, Attestation):
            known = [each for each in self.play.promises() if each.key == self._key(entry)]
            return self._equivocal(entry, name, known[0]) if known else entry
        return msgspec.structs.replace(entry, record=Complaint(name.encode(), b"rumour"))

    def _equivocal(self, entry, name, honest):
        """Sign another output; sometimes both, which anybody may then prove."""
        other = Output(void="lie")
        lie = Promise(honest.key, honest.inputs, honest.rule, other)
        record = lie.signed_by(name, self.world.generations[name])
        if self.random.random() < 0.3:
            accuser = self.random.choice(self.play.names)
            key = honest.key
            self.world.send(
                accuser,
                Accuse(
                    self.play.task, name, key.phase, key.round, key.stage, key.group,
                    honest.inputs, (honest.output.root, other.root),
                    (entry.record.signature, record.signature),
                ),
            )  # fmt: skip
        return msgspec.structs.replace(entry, record=record)

    def _key(self, entry):
        row = self.play.row
        for key in row.open:
            if (key.stage, key.group) == (entry.stage, entry.group):
                return key
        return type(row.open[0])(row.id, entry.phase, entry.round, entry.stage, entry.group)

    def _junk(self, name):
        draw = self.random
        record = draw.choice(
            (
                Seal(digest("junk", draw.random())),
                Artefact(digest("junk", draw.random()), draw.choice((0, 9, 2**63 - 1))),
                Opinion(digest("junk"), (draw.choice((None, -1, 1)),) * draw.randint(0, 5)),
                Attestation(draw.randbytes(64)),
                Complaint(draw.randbytes(4), b"proof" if draw.random() < 0.1 else b"x"),
            )
        )
        steps = [step for phase in self.play.view.plan.phases for step in phase]
        entry = Entry(
            draw.randint(0, 2),
            self.play.row.round + draw.choice((-1, 0, 0, 0, 1)) if self.play.row.round else 0,
            draw.choice(steps).stage.name,
            record,
            draw.choice(("", "", "g0", "g1")),
            draw.choice((b"", draw.randbytes(8))),
        )
        others = [other for other in self.play.names if other != name]
        message = draw.choice(
            (
                Collect(self.play.task, (entry,) * draw.randint(1, 2)),
                Collect(self.play.task, (entry,)),
                Transfer(draw.choice(others), draw.choice((1, 1000, 2**40))),
                RegisterDataset(digest("data", draw.randint(0, 9)), 1),
                BuyAccess(self.play.task, 2000),
                CloseTask(self.play.task),
                ProposeChange(Grant(name, draw.randint(1, 100))),
                Open(
                    self.play.task, entry.phase, entry.round,
                    (Opening(entry.stage, entry.group, Output(effects=(Pay(name, 1),))),),
                ),
            )
        )  # fmt: skip
        if draw.random() < 0.05:
            generation = self.world.generations[name] + 1
            self.world.send(name, rotation(self.world, name, generation))
            self.world.generations[name] = generation
            return
        self.world.send(name, message)

    def _open(self):
        step = self.play.view.step if self.play.status == "running" else None
        if step is None or not step.attested:
            return
        message = self.play.opening()
        if message is not None:
            self.world.send(self.random.choice(self.play.names), message)

    def _busy(self):
        if self.random.random() < 0.05:
            self.world.send(NAMES[0], Transfer(NAMES[1], 1))

    # --- what must hold -----------------------------------------------------------------------

    def _check_order(self):
        """Permute the records that wait: but for the log's own order, nothing may differ."""
        waiting = [tx for tx in self.world.pending if isinstance(tx.body.message, Collect)]
        if len(waiting) < 2 or self.random.random() < 0.7:
            return
        queues = {}
        for tx in waiting:
            queues.setdefault(tx.body.sender, []).append(tx)
        order = [tx.body.sender for tx in waiting]
        self.random.shuffle(order)
        left = {name: list(queue) for name, queue in queues.items()}
        other = [left[name].pop(0) for name in order]
        self.shuffled += 1
        assert rows_after(self.play, waiting) == rows_after(self.play, other)

    def _check_budgets(self):
        """What was spent is what the log says, to the last billionth, and only grows."""
        log = Counter((note.member, note.dataset) for note in self.play.notes(Charged))
        for (member, root), times in log.items():
            known = budgets.budget(self.world.state, member, root)
            cost = self.play.view.plan.find(1, "update").charge
            before = self.spent.get(member, known.spent)
            self.spent[member] = known.spent
            assert known.charges == times
            assert known.spent == tuple(times * each for each in cost.rdp)
            assert all(a <= b for a, b in zip(before, known.spent, strict=True))
            assert epsilon_of(known.spent, cost.table) <= known.epsilon_nanos

    def _check_end(self):
        play, world = self.play, self.world
        assert play.status in {"done", "void", "aborted"}, play.where
        assert not {key[0] for key, _ in world.state.rows()} & {0x11, 0x12, 0x24, 0x25}
        honest = {name for name, persona in self.personas.items() if persona == "honest"}
        missed = {
            (note.key, note.window, name)
            for note in play.notes(Shut)
            if note.full
            for name in note.absent
        }
        for note in play.notes(Forfeited):
            kind, _, detail = note.why.partition("-")
            assert kind in {"missed", "fault", "two"}
            assert kind != "missed" or (note.key, detail, note.member) in missed
            assert kind == "fault" or note.member not in honest
        assert not missed or not {name for _, w, name in missed if w == "reveal"} & honest
        completed = {
            note.round for note in play.notes(RoundEnded) if not note.cause and note.phase > 0
        }
        purse = sum(
            dict(stage.parameters).get("purse", 0)
            for stage in (*play.terms.round, *play.terms.close)
        )
        for number in {note.round for note in play.notes(Paid) if note.what == "pay"}:
            paid = [n for n in play.notes(Paid) if n.what == "pay" and n.round == number]
            assert number in completed
            assert sum(note.micros for note in paid) <= purse
            assert len({note.member for note in paid}) == len(paid)


def rows_after(play, transactions, dt=1000):
    """Return every row after a block in that order, but for what the log's own order touches."""
    world = play.world
    run = kernel_module._Run(world.kernel, world.state, world.head, world.now + dt)
    for tx in transactions:
        try:
            run.execute(tx)
        except RejectedError:
            continue
    rows = {}
    for key, value in run.finish().changes.items():
        if key[0] == TASKS.prefix:
            rows[key] = msgspec.structs.replace(decode(TaskRow, value), log=play.row.log)
        elif key[0] == STAGES.prefix and value and decode(StageRow, value).key.stage == "cosign":
            rows[key] = msgspec.structs.replace(decode(StageRow, value), subject=b"")
        else:
            rows[key] = value
    return rows
