"""Rounds: stages one after another, atomic, always finite.

Payments, rosters and the new model take effect when a round's last stage closes. A void round skips
what remains and discards them, gives its bonds back, and keeps faults, forfeits, log and beacon.
Three voids in a row, or one in ``close``, end the task with refunds; one in ``setup`` aborts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.ledger.collect.attest import accept_opening
from tallystick.ledger.collect.notes import Closed, Finished, Forfeited, Paid, RoundEnded
from tallystick.ledger.collect.row import is_due
from tallystick.ledger.collect.rows import (
    CLOSE_REQUESTED,
    LIVE,
    NAMES,
    OUTPUTS,
    RECORDS,
    STAGES,
    ModelRef,
    RosterRow,
    SeatRow,
)
from tallystick.ledger.collect.window import open_instance, shut_window
from tallystick.ledger.contracts import accounts, registry
from tallystick.mechanisms.records import CLOSE, ROUND, SETUP, Output, Pay, join_outputs

if TYPE_CHECKING:
    from tallystick.ledger.collect.cursor import Cursor
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.messages import Open

__all__ = ["advance", "open_outputs", "proceed", "stop_task"]

MOST_VOIDS = 3
MOST_ROUNDS_A_BLOCK = 4


def advance(cursor: Cursor) -> None:
    """Shut every window that is due and go on as far as nobody has to be waited for."""
    if not cursor.row.open:
        proceed(cursor)
    moved = True
    while moved and cursor.row.status == "running":
        moved = False
        step = cursor.step
        if step is None:
            break
        for key in cursor.row.open:
            stage = cursor.stage(key)
            if stage is None or stage.window == "done" or not is_due(cursor, step, stage):
                continue
            shut_window(cursor, step, stage)
            moved = True
        if _collect_outputs(cursor, step):
            moved = True
            proceed(cursor)


def open_outputs(cursor: Cursor, message: Open) -> None:
    """Act on openings at once, in their order, so that consecutive stages share a block."""
    for opening in message.openings:
        accept_opening(cursor, opening)
        step = cursor.step
        if step is not None and _collect_outputs(cursor, step):
            proceed(cursor)


def proceed(cursor: Cursor) -> None:
    """Open stages, folding at once those that ask nobody, until one has to wait.

    Rounds that nobody has to be waited for end a few a block, and go on in the next one.
    """
    while cursor.row.status == "running" and not cursor.row.open:
        if cursor.ended_rounds >= MOST_ROUNDS_A_BLOCK:
            return
        step = cursor.step
        if step is None:
            _complete_round(cursor)
        elif step.on_ledger:
            _close_step(cursor, step, _fold_groups(cursor, step))
        else:
            for group in cursor.groups(step):
                open_instance(cursor, step, group)
            _collect_outputs(cursor, step)


def stop_task(cursor: Cursor, status: str, cause: str) -> None:
    """End the task: bonds and escrow go back, stages, records and outputs are dropped.

    Who first revealed which artefact stays, a row each.
    """
    _clear_round(cursor, SETUP, ROUND, CLOSE)
    for member in cursor.row.bonded:
        micros = accounts.release_bond(cursor.state, cursor.row.id, member, standing=True)
        if micros:
            cursor.note(Paid(cursor.row.round, member, micros, "bond"))
    left = accounts.escrow(cursor.state, cursor.row.id)
    _refund(cursor, left)
    cause = cause or cursor.row.cause
    cursor.note(Finished(status, cause, left))
    if status == "aborted":
        cursor.state.delete(NAMES, cursor.row.name)
    for phase, number in ((SETUP, 0), *((ROUND, each) for each in cursor.row.completed)):
        _drop_outputs(cursor, phase, number)
    _drop_outputs(cursor, cursor.row.phase, cursor.row.round)
    cursor.change(status=status, cause=cause, open=(), bonded=())
    cursor.change(pending=(), effects=(), draft=None)
    live = cursor.state.get(LIVE) or ()
    cursor.state.put(LIVE, row=tuple(task for task in live if task != cursor.row.id))


def _refund(cursor: Cursor, left: int) -> None:
    """Give what is left of the escrow back in proportion to what was paid in.

    Parts are rounded down; the remainder goes to the task's owner.
    """
    total = sum(micros for _, micros in cursor.row.funders)
    parts = {member: left * micros // total for member, micros in cursor.row.funders}
    owner = cursor.row.owner
    parts[owner] = parts.get(owner, 0) + left - sum(parts.values())
    for member, micros in sorted(parts.items()):
        if micros:
            accounts.pay_from_escrow(cursor.state, cursor.row.id, member, micros)
            cursor.note(Paid(cursor.row.round, member, micros, "refund"))


def _collect_outputs(cursor: Cursor, step: Step) -> bool:
    """Close the step once all its instances are done; void only if every group is."""
    stages = [cursor.stage(key) for key in cursor.row.open]
    if not stages or any(stage is None or stage.window != "done" for stage in stages):
        return False
    outputs = [stage.output or Output() for stage in stages if stage is not None]
    _close_step(cursor, step, join_outputs(outputs))
    return True


def _fold_groups(cursor: Cursor, step: Step) -> Output:
    return join_outputs(
        [step.rule.fold((), cursor.inputs(step, group)) for group in cursor.groups(step)]
    )


def _close_step(cursor: Cursor, step: Step, output: Output) -> None:
    row = cursor.row
    _drop_rows(cursor, step)
    output = _within_means(cursor, output)
    cursor.note(Closed(row.phase, row.round, step.stage.name, output))
    cursor.change(open=())
    _punish(cursor, step, output)
    if output.void:
        _void_round(cursor, output.void)
        return
    key = (row.id, row.phase, row.round, step.stage.name)
    cursor.state.put(OUTPUTS, *key, row=output)
    if step.writes:
        pairs = sorted((found.author, found.group) for found in output.live)
        seats = tuple(SeatRow(member, group) for member, group in pairs)
        written = tuple(RosterRow(name, seats) for name in step.writes)
        kept = tuple(roster for roster in row.pending if roster.name not in step.writes)
        cursor.change(pending=(*kept, *written))
    if step.yields_model and step.stage.name == cursor.plan.model_stage and output.live:
        made = output.live[0]
        cursor.change(draft=ModelRef(made.id, made.columns[0]))
    payments = tuple(effect for effect in output.effects if isinstance(effect, Pay))
    cursor.change(effects=(*cursor.row.effects, *payments), position=row.position + 1)


def _within_means(cursor: Cursor, output: Output) -> Output:
    """Void an output that pays more than the escrow holds, or somebody outside the task."""
    payments = [effect for effect in output.effects if isinstance(effect, Pay)]
    promised = [effect for effect in cursor.row.effects if isinstance(effect, Pay)]
    total = sum(effect.micros for effect in (*payments, *promised))
    if any(effect.member not in cursor.terms.parties for effect in payments):
        return Output(output.subjects, output.faults, "payee-outside-the-task")
    if total > accounts.escrow(cursor.state, cursor.row.id):
        return Output(output.subjects, output.faults, "escrow-overspent")
    return output


def _punish(cursor: Cursor, step: Step, output: Output) -> None:
    """Apply faults at once: they are kept even when the round is void."""
    for effect in output.faults:
        task, member = cursor.row.id, effect.member
        lost = accounts.forfeit_bond(cursor.state, task, member, effect.micros)
        key = cursor.key(step, "")
        cursor.note(Forfeited(key, member, lost, f"fault-{effect.reason}"))


def _complete_round(cursor: Cursor) -> None:
    row = cursor.row
    for effect in row.effects:
        if isinstance(effect, Pay) and effect.micros:
            accounts.pay_from_escrow(cursor.state, row.id, effect.member, effect.micros)
            cursor.note(Paid(row.round, effect.member, effect.micros, "pay"))
    written = {roster.name for roster in row.pending}
    kept = tuple(roster for roster in row.rosters if roster.name not in written)
    model = row.draft or row.model
    if row.draft is not None:
        registry.record_model(cursor.state, row.draft.root, row.id, row.round)
    cursor.change(
        rosters=(*kept, *row.pending), pending=(), effects=(), draft=None, model=model, voids=0
    )
    cursor.note(RoundEnded(row.phase, row.round, "", model))
    _end_round(cursor, voided=False)


def _void_round(cursor: Cursor, cause: str) -> None:
    row = cursor.row
    _clear_round(cursor, row.phase)  # before the rosters go that say which groups there were
    cursor.change(pending=(), effects=(), draft=None, voids=row.voids + 1)
    cursor.note(RoundEnded(row.phase, row.round, cause, row.model))
    _end_round(cursor, voided=True, cause=cause)


def _end_round(cursor: Cursor, *, voided: bool, cause: str = "") -> None:
    row = cursor.row
    cursor.ended_rounds += 1
    if row.phase == SETUP:
        if voided:
            stop_task(cursor, "aborted", cause)
        else:
            cursor.change(cause=CLOSE_REQUESTED if row.closing else "")
            _begin_round(cursor, CLOSE if row.closing else ROUND, 1)
        return
    _return_bonds(cursor)
    _clear_round(cursor, row.phase)
    if row.phase == CLOSE:
        stop_task(cursor, "void" if voided else "done", cause)
        return
    if not voided:
        completed = (*row.completed, row.round)[-cursor.plan.depth :]
        cursor.change(completed=completed)
    _forget_outputs(cursor, row.round)
    if voided and cursor.row.voids >= MOST_VOIDS:
        stop_task(cursor, "void", cause)
    elif row.round >= cursor.terms.rounds or row.closing:
        cursor.change(cause=CLOSE_REQUESTED if row.closing else "")
        _begin_round(cursor, CLOSE, row.round + 1)
    else:
        _begin_round(cursor, ROUND, row.round + 1)


def _begin_round(cursor: Cursor, phase: int, number: int) -> None:
    cursor.change(phase=phase, round=number, position=0, open=())


def _return_bonds(cursor: Cursor) -> None:
    standing: list[str] = []
    for member in cursor.row.bonded:
        micros = accounts.release_bond(cursor.state, cursor.row.id, member, standing=False)
        if micros:
            cursor.note(Paid(cursor.row.round, member, micros, "bond"))
        if accounts.bond_of(cursor.state, cursor.row.id, member).standing:
            standing.append(member)
    cursor.change(bonded=tuple(standing))


def _drop_rows(cursor: Cursor, step: Step) -> None:
    """Drop a step's instances and records, signatures given ahead among them."""
    if step.on_ledger:
        return
    for key in {*cursor.row.open, *(cursor.key(step, label) for label in cursor.labels(step))}:
        cursor.state.delete(STAGES, key)
        for member in cursor.terms.parties:
            if cursor.state.get(RECORDS, key, member) is not None:
                cursor.state.delete(RECORDS, key, member)


def _clear_round(cursor: Cursor, *phases: int) -> None:
    """Drop signatures given ahead for stages that never opened, and open instances."""
    if cursor.row.phase not in phases:
        return
    for step in cursor.plan.phases[cursor.row.phase]:
        _drop_rows(cursor, step)


def _forget_outputs(cursor: Cursor, ended: int) -> None:
    """Delete outputs that no reference reaches any more.

    A completed round falls out of reach when another completes, at most three voids later.
    """
    kept = set(cursor.row.completed)
    reach = cursor.plan.depth * (MOST_VOIDS + 1)
    for number in range(max(1, ended - reach), ended + 1):
        if number not in kept:
            _drop_outputs(cursor, ROUND, number)


def _drop_outputs(cursor: Cursor, phase: int, number: int) -> None:
    for step in cursor.plan.phases[phase]:
        key = (cursor.row.id, phase, number, step.stage.name)
        if cursor.state.get(OUTPUTS, *key) is not None:
            cursor.state.delete(OUTPUTS, *key)
