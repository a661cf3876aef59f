"""Tasks: agreed, run round by round, ended; what arrives for them is handed to `collect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from tallystick.crypto.merkle_list import Peaks
from tallystick.ledger.collect import attest
from tallystick.ledger.collect import round as rounds
from tallystick.ledger.collect.beacon import seed_beacon
from tallystick.ledger.collect.cursor import Cursor
from tallystick.ledger.collect.notes import Signed
from tallystick.ledger.collect.recipe import BadTermsError, check_terms
from tallystick.ledger.collect.row import accept_entry
from tallystick.ledger.collect.rows import (
    LIVE,
    NAMES,
    TASKS,
    TERMS,
    MechanismError,
    ModelRef,
    TaskRow,
)
from tallystick.ledger.contracts.members import active_members
from tallystick.ledger.receipt import Event
from tallystick.ledger.terms import task_id
from tallystick.mechanisms.records import SETUP

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import Accuse, CloseTask, Collect, Open, ProposeTask
    from tallystick.ledger.state import State
    from tallystick.ledger.terms import Terms

__all__ = [
    "NotOwnerError",
    "TaskEndedError",
    "UnknownTaskError",
    "advance_tasks",
    "handle_accuse",
    "handle_close",
    "handle_collect",
    "handle_open",
    "handle_propose",
]

MOST_LIVE, MOST_OWN = 64, 8  # shared equally, so that nobody can take all places


class UnknownTaskError(MechanismError):
    """There is no such task."""

    slug: ClassVar[str] = "unknown-task"
    code: ClassVar[int] = 501


class TaskEndedError(MechanismError):
    """The task has ended and takes nothing more."""

    slug: ClassVar[str] = "task-ended"
    code: ClassVar[int] = 502


class NotOwnerError(MechanismError):
    """Only the task's owner may do this."""

    slug: ClassVar[str] = "not-owner"
    code: ClassVar[int] = 521


def handle_propose(state: State, context: Context, message: ProposeTask) -> tuple[Event, ...]:
    """Check the terms and open the approval they need."""
    terms = message.terms
    if terms.owner != context.sender:
        msg = f"the terms name '{terms.owner}' as owner, who is not the sender"
        raise NotOwnerError(msg)
    task = task_id(terms)
    live = state.get(LIVE) or ()
    if state.get(NAMES, terms.name) is not None:
        msg = f"a task named '{terms.name}' exists already"
        raise BadTermsError(msg)
    if state.get(TASKS, task) is not None:
        msg = "the very same terms were put before, and ended; change something in them"
        raise BadTermsError(msg)
    own = sum(_owner(state, other) == terms.owner for other in live)
    active = active_members(state)
    share = max(1, min(MOST_OWN, MOST_LIVE // len(active)))
    if own >= share:
        msg = f"{own} tasks of yours are running and {share} may; end one first"
        raise BadTermsError(msg)
    strangers = sorted(set(terms.parties) - set(active))
    if strangers:
        msg = f"'{strangers[0]}' is not an active member"
        raise BadTermsError(msg)
    check_terms(terms, trial=context.trial, faults=context.faults)
    model = None if terms.model is None else ModelRef(terms.model.root, terms.model.size)
    row = TaskRow(
        id=task,
        name=terms.name,
        owner=terms.owner,
        status="running",
        phase=SETUP,
        round=0,
        position=0,
        open=(),
        beacon=seed_beacon(task),
        log=Peaks(),
        excess=0,
        model=model,
    )
    state.put(TERMS, task, row=terms)
    state.put(NAMES, terms.name, row=task)
    state.put(LIVE, row=tuple(sorted((*live, task))))
    cursor = _cursor(state, context, row, terms)
    rounds.proceed(cursor)
    cursor.save()
    return (Event("task", task.hex()),)


def handle_collect(state: State, context: Context, message: Collect) -> tuple[Event, ...]:
    """Take records into the stages they belong to, all or none."""
    cursor = _take(state, context, message.task)
    for entry in message.entries:
        accept_entry(cursor, context, entry)
    cursor.save()
    return ()


def handle_open(state: State, context: Context, message: Open) -> tuple[Event, ...]:
    """Take outputs whose signatures are in, all or none."""
    cursor = _take(state, context, message.task)
    here = (cursor.row.phase, cursor.row.round)
    if (message.phase, message.round) != here:
        raise attest.LateRecordError
    rounds.open_outputs(cursor, message)
    cursor.save()
    return ()


def handle_accuse(state: State, context: Context, message: Accuse) -> tuple[Event, ...]:
    """Take proof that a member signed two outputs for one stage."""
    cursor = _take(state, context, message.task)
    attest.accuse(cursor, context, message)
    cursor.save()
    return (Event("fault", message.member),)


def handle_close(state: State, context: Context, message: CloseTask) -> tuple[Event, ...]:
    """End a task after the running round."""
    cursor = _take(state, context, message.task)
    if context.sender != cursor.row.owner:
        msg = f"'{cursor.row.owner}' owns the task, not '{context.sender}'"
        raise NotOwnerError(msg)
    cursor.change(closing=True)
    cursor.save()
    return (Event("closing", message.task.hex()),)


def advance_tasks(state: State, time: int, parent_time: int) -> tuple[Event, ...]:
    """Do every live task's due work, each in a savepoint; a fault suspends that task alone.

    Running out of memory or of stack counts as one: it is the rule's doing nearly always, and one
    that did it everywhere would stop everybody for good. A machine that alone is short of memory
    would come to another state than the others, and be stopped by that.
    """
    events: list[Event] = []
    for task in state.get(LIVE) or ():
        scratch = state.scratch()
        try:
            _advance_task(scratch, task, time, parent_time)
            scratch.encode()
        except Exception as fault:  # noqa: BLE001 - the same bug, the same suspension, everywhere
            scratch = _suspended(state, task, time, type(fault).__name__)
            events.append(Event("suspended", task.hex()))
        scratch.keep()
    return tuple(events)


def _owner(state: State, task: bytes) -> str:
    row = state.get(TASKS, task)
    return "" if row is None else row.owner


def _take(state: State, context: Context, task: bytes) -> Cursor:
    row, terms = state.get(TASKS, task), state.get(TERMS, task)
    if row is None or terms is None:
        raise UnknownTaskError
    if row.status != "running":
        msg = f"the task ended: {row.status}"
        raise TaskEndedError(msg)
    return _cursor(state, context, row, terms)


def _cursor(state: State, context: Context, row: TaskRow, terms: Terms) -> Cursor:
    silence = _silence(context.time, context.parent_time, terms.gap)
    cursor = Cursor(state, row, terms, context.time - silence)
    cursor.note(Signed(context.wire))
    if context.sender in row.dozing:
        cursor.change(dozing=tuple(name for name in row.dozing if name != context.sender))
    return cursor


def _silence(time: int, parent_time: int, gap: int) -> int:
    """Return by how much the time since the last block exceeds the gap: nobody's fault."""
    return max(0, time - parent_time - gap)


def _advance_task(state: State, task: bytes, time: int, parent_time: int) -> None:
    row, terms = state.get(TASKS, task), state.get(TERMS, task)
    if row is None or terms is None:
        return
    before = row
    cursor = Cursor(state, row, terms, time)
    silence = _silence(time, parent_time, terms.gap)
    if silence:
        cursor.change(excess=row.excess + silence)
        cursor.now = max(0, time - cursor.row.excess)
    rounds.advance(cursor)
    if cursor.row != before:
        cursor.save()


def _suspended(state: State, task: bytes, time: int, cause: str) -> State:
    """Return scratch state with the task suspended, and refunds if those do not fail too."""
    scratch = state.scratch()
    try:
        _suspend(scratch, task, time, cause)
        scratch.encode()
    except Exception:  # noqa: BLE001 - what stops a task must not stop the chain
        scratch = state.scratch()
        row = scratch.get(TASKS, task)
        if row is not None:
            stopped = msgspec.structs.replace(row, status="suspended", cause="fault-in-the-end")
            scratch.put(TASKS, task, row=stopped)
        live = scratch.get(LIVE) or ()
        scratch.put(LIVE, row=tuple(other for other in live if other != task))
    return scratch


def _suspend(state: State, task: bytes, time: int, cause: str) -> None:
    row, terms = state.get(TASKS, task), state.get(TERMS, task)
    if row is None or terms is None:
        return
    cursor = Cursor(state, row, terms, time)
    rounds.stop_task(cursor, "suspended", f"fault-{cause}"[:64])
    cursor.save()
