"""Derive a task's log again from what its members signed.

The log is replayed record by record. Only two things are taken from it: the signed transactions,
and which windows ran their whole length. Everything else (rosters, absentees, the beacon, every
output, who signed an attested one, every payment) is computed, and has to come out byte for byte
as it stands in the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallystick.codec import decode
from tallystick.crypto import keys
from tallystick.errors import DecodeError, InvariantError, RejectedError
from tallystick.ledger.collect import round as rounds
from tallystick.ledger.collect.cursor import Cursor
from tallystick.ledger.collect.notes import Closed, Finished, Shut, Signed
from tallystick.ledger.collect.row import is_due
from tallystick.ledger.collect.rows import TASKS, TERMS
from tallystick.ledger.collect.window import shut_window
from tallystick.ledger.context import Context
from tallystick.ledger.contracts import accounts, budgets, members, validators
from tallystick.ledger.dispatch import handle
from tallystick.ledger.kernel import Kernel
from tallystick.ledger.messages import Accuse, CloseTask, Collect, Open, ProposeTask
from tallystick.ledger.state import State
from tallystick.ledger.terms import task_id
from tallystick.ledger.transaction import DOMAIN, Body, SignedTransaction
from tallystick.mechanisms.records import Artefact
from tallystick.provenance.execution import HistoryError
from tallystick.provenance.leaf import parse_leaf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.rows import TaskRow
    from tallystick.ledger.genesis import Genesis
    from tallystick.mechanisms.records import Key, Output
    from tallystick.mechanisms.rule import Inputs
    from tallystick.provenance.timeline import Membership, Timeline

__all__ = ["Derived", "Fold", "derive"]

PURSE = 2**62  # what each member holds here: amounts are checked by the ledger, not by the log


@dataclass(frozen=True, slots=True)
class Fold:
    """An attested output with what it was folded from."""

    height: int
    step: Step
    key: Key
    inputs: Inputs
    output: Output


@dataclass(slots=True)
class Derived:
    """What the log leads to: the task's row without its silence, and its attested folds."""

    row: TaskRow
    folds: list[Fold] = field(default_factory=list[Fold])


def derive(
    genesis: Genesis, task: bytes, leaves: Sequence[tuple[int, bytes]], timeline: Timeline
) -> Derived:
    """Derive every record of the log from those before it.

    Parameters
    ----------
    leaves
        The whole log, each record with the height of its block.
    timeline
        Whose keys were valid when.

    Raises
    ------
    HistoryError
        Names the first record that does not follow.
    """
    run = _Run(genesis, task)
    position = 0
    while position < len(leaves):
        height, leaf = leaves[position]
        run.enter(height, timeline)
        made = run.follow(position, leaf, leaves)
        for offset, expected in enumerate(made):
            found = leaves[position + offset][1] if position + offset < len(leaves) else b""
            if found != expected:
                raise HistoryError(_difference(position + offset, found, expected))
        position += len(made)
    row = run.state.get(TASKS, task)
    if row is None:
        msg = "the log does not begin with the task's terms"
        raise HistoryError(msg)
    return Derived(row, run.folds)


class _Cursor(Cursor):
    """A cursor that remembers what folds looked at."""

    seen: dict[Key, Inputs]

    def inputs(self, step: Step, group: str = "") -> Inputs:
        found = super().inputs(step, group)
        self.seen[found.key] = found
        return found


class _Run:
    """The task's part of the ledger, driven by its log."""

    def __init__(self, genesis: Genesis, task: bytes) -> None:
        self.state = State()
        self.task = task
        self.kernel = Kernel(genesis)
        self.folds: list[Fold] = []
        self.nonces: dict[tuple[str, int], int] = {}
        self.height = 0
        self.now: Membership | None = None
        self.state.put(accounts.TOTALS, row=accounts.Totals(PURSE, 0, 0, 0, 0))

    def enter(self, height: int, timeline: Timeline) -> None:
        """Let the members be those of that block."""
        self.height = height
        now = timeline.at(height)
        if now is self.now:
            return
        self.now = now
        self.state.put(members.ROLL, row=now.roll)
        self.state.put(validators.VALIDATORS, row=now.validators)
        for name, row in now.members.items():
            self.state.put(members.MEMBERS, name, row=row)
            if self.state.get(accounts.BALANCES, name) is None:
                self.state.put(accounts.BALANCES, name, row=PURSE)

    def follow(
        self, position: int, leaf: bytes, leaves: Sequence[tuple[int, bytes]]
    ) -> list[bytes]:
        """Do what the record at ``position`` stands for; return the records this makes."""
        note = parse_leaf(leaf)
        try:
            match note:
                case Signed():
                    self._take(note.wire, first=position == 0)
                case Shut():
                    self._shut(note)
                case _:
                    self._go_on(leaves[position:])
        except (RejectedError, DecodeError, InvariantError) as error:
            msg = f"record {position} of the log does not follow: {error}"
            raise HistoryError(msg) from error
        made = [data for _, data in self.state.logged]
        self.state.logged.clear()
        if not made:
            msg = f"record {position} of the log follows from nothing"
            raise HistoryError(msg)
        return made

    def _take(self, wire: bytes, *, first: bool) -> None:
        signed = decode(SignedTransaction, wire)
        body = decode(Body, signed.body)
        context = self._context(body, wire)
        self._check_signature(body, signed)
        message = body.message
        if isinstance(message, ProposeTask) != first:
            msg = "a log begins with the task's terms and holds them once"
            raise HistoryError(msg)
        if not isinstance(message, ProposeTask | Collect | Open | Accuse | CloseTask):
            msg = "the transaction does not concern a task"
            raise HistoryError(msg)
        task = task_id(message.terms) if isinstance(message, ProposeTask) else message.task
        if task != self.task:
            msg = "the transaction concerns another task"
            raise HistoryError(msg)
        if isinstance(message, Open):
            self._open(message, wire)
            return
        if isinstance(message, Collect):
            self._assume_budgets(body.sender, message)
        handle(self.state, context, message)

    def _assume_budgets(self, sender: str, message: Collect) -> None:
        """Let data sets be registered that the ledger let members name, with all they may need."""
        plan = self._cursor().plan
        for entry in message.entries:
            step = plan.find(entry.phase, entry.stage)
            if step is not None and step.enrols and isinstance(entry.record, Artefact):
                budgets.assume(self.state, sender, entry.record.root)

    def _check_signature(self, body: Body, signed: SignedTransaction) -> None:
        key = members.active_key(self.state, body.sender, body.key)
        message = self.kernel.chain + signed.body
        if key is None or not keys.is_valid(key.public, DOMAIN, message, signed.signature):
            msg = f"the signature is not by key {body.key} of '{body.sender}'"
            raise HistoryError(msg)
        if body.nonce <= self.nonces.get((body.sender, body.key), -1):
            msg = f"'{body.sender}' spent nonce {body.nonce} before"
            raise HistoryError(msg)
        self.nonces[body.sender, body.key] = body.nonce

    def _open(self, message: Open, wire: bytes) -> None:
        cursor = self._cursor()
        cursor.note(Signed(wire))
        if (message.phase, message.round) != (cursor.row.phase, cursor.row.round):
            msg = "outputs are opened in their own round"
            raise HistoryError(msg)
        rounds.open_outputs(cursor, message)
        cursor.save()
        for opening in message.openings:
            step = cursor.plan.find(message.phase, opening.stage)
            place = (message.phase, message.round, opening.stage, opening.group)
            for key, inputs in cursor.seen.items():
                if step is not None and (key.phase, key.round, key.stage, key.group) == place:
                    self.folds.append(Fold(self.height, step, key, inputs, opening.output))

    def _shut(self, note: Shut) -> None:
        cursor = self._cursor()
        step, stage = cursor.step, cursor.stage(note.key)
        if step is None or stage is None or note.key not in cursor.row.open:
            msg = f"stage '{note.key.stage}' is not open"
            raise HistoryError(msg)
        if not note.full and not is_due(cursor, step, stage):
            msg = f"the {stage.window} window of '{note.key.stage}' shut while it was waited for"
            raise HistoryError(msg)
        cursor.now = stage.ends if note.full else 0
        shut_window(cursor, step, stage)
        cursor.now = 0
        instances = [cursor.stage(key) for key in cursor.row.open]
        if all(found is not None and found.window == "done" for found in instances):
            rounds.advance(cursor)
        cursor.save()

    def _go_on(self, rest: Sequence[tuple[int, bytes]]) -> None:
        """Go on where no window is open, as a block does that has ended enough rounds.

        Else accept that a fault of the program suspended the task: no log can show why.
        """
        cursor = self._cursor()
        if not cursor.row.open:
            rounds.advance(cursor)
            cursor.save()
            return
        last = parse_leaf(rest[-1][1])
        if not isinstance(last, Finished) or last.status != "suspended":
            msg = "nothing that was signed leads to it"
            raise HistoryError(msg)
        rounds.stop_task(cursor, last.status, last.cause)
        cursor.save()

    def _cursor(self) -> _Cursor:
        row, terms = self.state.get(TASKS, self.task), self.state.get(TERMS, self.task)
        if row is None or terms is None or row.status != "running":
            msg = "the task is not running"
            raise HistoryError(msg)
        cursor = _Cursor(self.state, row, terms, 0)
        cursor.seen = {}
        return cursor

    def _context(self, body: Body, wire: bytes) -> Context:
        key = members.active_key(self.state, body.sender, body.key)
        return Context(
            sender=body.sender,
            key=body.key,
            key_role="" if key is None else key.role,
            time=0,
            parent_time=0,
            height=self.height,
            genesis=self.kernel.chain,
            wire=wire,
            trial=self.kernel.genesis.trial,
            faults=self.kernel.faults(self.state),
        )


def _difference(number: int, found: bytes, expected: bytes) -> str:
    if not found:
        return f"the log ends at record {number}, where {_kind(expected)} has to follow"
    wanted, there = parse_leaf(expected), parse_leaf(found)
    if isinstance(wanted, Closed) and isinstance(there, Closed) and wanted.stage == there.stage:
        return (
            f"record {number}: the output of '{there.stage}' in round {there.round} does not "
            "follow from its records"
        )
    return f"record {number} of the log is {_kind(found)}; another {_kind(expected)} follows"


def _kind(leaf: bytes) -> str:
    return f"'{type(parse_leaf(leaf)).__name__.lower()}'"
