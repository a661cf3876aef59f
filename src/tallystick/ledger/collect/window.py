"""What happens when a window shuts: the next window, the fold, or too few.

A stage of artefacts goes seal → reveal → hold, without a seal record → hold; opinions and
complaints have no hold; an attested stage has one window, in which its output is opened.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.ledger.collect.beacon import advance_beacon
from tallystick.ledger.collect.notes import Advanced, Forfeited, Opened, Shut
from tallystick.ledger.collect.row import expected, has_delivered, hold_decisions
from tallystick.ledger.collect.rows import SEEN, SeatRow, Sighting, StageRow
from tallystick.ledger.collect.view import subject_of
from tallystick.ledger.contracts import accounts
from tallystick.ledger.contracts.members import active_members
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.records import Artefact, Attestation, Output
from tallystick.mechanisms.rule import Held

if TYPE_CHECKING:
    from tallystick.crypto.merkle_list import Peaks
    from tallystick.ledger.collect.cursor import Cursor
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.rows import ModelRef, Window
    from tallystick.mechanisms.records import Key

__all__ = ["final_statement", "open_instance", "shut_window"]


def open_instance(cursor: Cursor, step: Step, group: str) -> None:
    """Open one instance of a step, asking its roster as it is now.

    About no live subject there is nothing to ask: such an instance is done with the empty output.
    """
    if step.attested:
        seats = cursor.attesters(step, group, everybody=False)
    else:
        seats = cursor.roster(step.stage.who, group)
    key = cursor.key(step, group)
    if step.stage.of and not cursor.inputs(step, group).live:
        done = StageRow(key=key, window="done", ends=0, roster=(), output=Output())
        cursor.put_stage(done)
        cursor.change(open=(*cursor.row.open, key))
        return
    rows = tuple(SeatRow(seat.member, seat.group) for seat in seats)
    cursor.note(Opened(key, rows))
    stage = StageRow(key=key, window="done", ends=0, roster=rows)
    window: Window = "attest" if step.attested else "seal" if step.stage.sealed else "record"
    _begin(cursor, step, stage, window)
    if step.cosign:
        row = cursor.row
        subject = final_statement(row.id, row.draft or row.model, row.log)
        cursor.put_stage(cursor.stage(key) or stage, subject=subject)
    cursor.change(open=(*cursor.row.open, key))


def final_statement(task: bytes, model: ModelRef | None, log: Peaks) -> bytes:
    """Return what members co-sign: the task, its final model and its log so far."""
    return sha256("final", task, encode(model), encode(log.size), log.root)


def shut_window(cursor: Cursor, step: Step, stage: StageRow) -> None:
    """Shut the stage's window and go on to whatever follows."""
    full = cursor.now >= stage.ends
    asked = expected(cursor, step, stage)
    absent = tuple(name for name in asked if not has_delivered(cursor, stage, name))
    if full and absent and stage.window != "done":
        dozing = {*cursor.row.dozing, *absent}
        cursor.change(dozing=tuple(sorted(dozing)))
    match stage.window:
        case "seal":
            cursor.note(Shut(stage.key, stage.window, full, absent))
            _after(cursor, step, stage, len(asked) - len(absent), "reveal")
        case "reveal" | "record":
            cursor.note(Shut(stage.key, stage.window, full, absent))
            if full:
                _forfeit(cursor, step, stage, absent)
            got = len(asked) - len(absent)
            if stage.window == "reveal":
                stage = _advance(cursor, step, stage, absent, got)
            _after(cursor, step, stage, got, "hold")
        case "hold":
            _after_hold(cursor, step, stage, absent, full=full)
        case "attest":
            cursor.note(Shut(stage.key, stage.window, full, absent))
            _after_attest(cursor, step, stage)
        case _:
            pass


def _begin(cursor: Cursor, step: Step, stage: StageRow, window: Window) -> None:
    length = {"reveal": step.stage.reveal, "hold": step.stage.hold}.get(window, step.stage.within)
    cursor.put_stage(stage, window=window, ends=cursor.now + length)


def _after(cursor: Cursor, step: Step, stage: StageRow, got: int, then: Window) -> None:
    if not step.need.met(got, len(stage.roster)):
        _fall_short(cursor, step, stage)
    elif then == "reveal":
        _begin(cursor, step, stage, "reveal")
    else:
        _list_records(cursor, step, stage)


def _advance(
    cursor: Cursor, step: Step, stage: StageRow, absent: tuple[str, ...], got: int
) -> StageRow:
    """Move the beacon on when the last reveal window of a stage instance has shut.

    A window that is opened again moves nothing, or whoever reveals late would choose among as many
    outcomes as there are tries.
    """
    withheld = tuple(sorted({*stage.withheld, *absent}))
    stage = cursor.put_stage(stage, withheld=withheld)
    if not step.need.met(got, len(stage.roster)) and _may_rerun(step, stage):
        return stage
    rows = {seat.member: cursor.records(stage.key, seat.member) for seat in stage.roster}
    salts = {member: row.salt for member, row in rows.items() if row.record is not None}
    beacon = advance_beacon(cursor.row.beacon, stage.key, salts)
    # Other groups' withholders stay out once their own instance has advanced in this stage.
    others = cursor.row.withheld if _advanced_before(cursor, stage) else ()
    out = tuple(sorted({*others, *withheld}))
    cursor.change(beacon=beacon, withheld=out)
    cursor.note(Advanced(stage.key, beacon, out))
    return stage


def _advanced_before(cursor: Cursor, stage: StageRow) -> bool:
    """Whether the reveals of another group of this stage are over."""
    others = (cursor.stage(key) for key in cursor.row.open if key != stage.key)
    return any(
        other is not None and other.roster and other.window in {"hold", "done"} for other in others
    )


def _forfeit(cursor: Cursor, step: Step, stage: StageRow, absent: tuple[str, ...]) -> None:
    """Take the stake of those who owed this window; whoever never sealed staked nothing."""
    micros = step.stage.forfeit or step.stage.bond
    if not micros:
        return
    active = set(active_members(cursor.state))
    for member in absent:
        if member not in active:
            continue  # voted out between seal and reveal: it could not answer
        lost = accounts.forfeit_bond(cursor.state, cursor.row.id, member, micros)
        if lost:
            cursor.note(Forfeited(stage.key, member, lost, f"missed-{stage.window}"))


def _list_records(cursor: Cursor, step: Step, stage: StageRow) -> None:
    """Fold what came in; artefacts then wait for the holders."""
    held = _records(cursor, stage)
    inputs = cursor.inputs(step, stage.key.group)
    known: dict[bytes, str] = {}
    for item in held:
        if isinstance(item.record, Artefact):
            author = cursor.first_author(item.record.root)
            if author:
                known[item.record.root] = author
    output = step.rule.fold(held, replace(inputs, known=known))
    _remember(cursor, stage.key, held)
    sized = {
        (item.record.root, item.author)
        for item in held
        if isinstance(item.record, Artefact) and item.record.size
    }
    blobs = tuple(found.id for found in output.subjects if (found.id, found.author) in sized)
    if blobs:
        subject = subject_of(stage.key, output)
        stage = cursor.put_stage(stage, listed=output, subject=subject, blobs=blobs)
        _begin(cursor, step, stage, "hold")
    else:
        cursor.put_stage(stage, window="done", output=output)


def _records(cursor: Cursor, stage: StageRow) -> tuple[Held, ...]:
    held: list[Held] = []
    for seat in stage.roster:
        row = cursor.records(stage.key, seat.member)
        if row.record is not None:
            held.append(Held(seat.member, seat.group, row.record))
        elif row.signatures:
            held.append(Held(seat.member, seat.group, Attestation(row.signatures[0][1])))
    return tuple(held)


def _remember(cursor: Cursor, key: Key, held: tuple[Held, ...]) -> None:
    """Record who revealed each artefact first; ties by the beacon's draw."""
    state, task = cursor.state, cursor.row.id
    by_draw = sorted(held, key=lambda item: ticket(cursor.row.beacon, key, item.author))
    for item in by_draw:
        artefact = item.record
        if not isinstance(artefact, Artefact) or not artefact.size:
            continue
        if state.get(SEEN, task, artefact.root) is None:
            seen = Sighting(item.author, cursor.row.round)
            state.put(SEEN, task, artefact.root, row=seen)


def _after_hold(
    cursor: Cursor, step: Step, stage: StageRow, absent: tuple[str, ...], *, full: bool
) -> None:
    listed = stage.listed or Output()
    decisions = hold_decisions(cursor, stage)
    pairs = list(zip(listed.subjects, decisions, strict=True))
    kept = tuple(subject for subject, decision in pairs if decision)
    lost = tuple(subject.id for subject, decision in pairs if not decision)
    cursor.note(Shut(stage.key, "hold", full, absent, lost))
    if not step.need.met(len(kept), len(stage.roster)):
        _fall_short(cursor, step, stage)
        return
    output = msgspec.structs.replace(listed, subjects=kept)
    cursor.put_stage(stage, window="done", output=output)


def _after_attest(cursor: Cursor, step: Step, stage: StageRow) -> None:
    """No output was opened in time: ask everybody, else fall short."""
    everybody = cursor.attesters(step, stage.key.group, everybody=True)
    if not stage.escalated and len(everybody) > len(stage.roster):
        rows = tuple(SeatRow(seat.member, seat.group) for seat in everybody)
        stage = cursor.put_stage(stage, escalated=True, roster=rows)
        cursor.note(Opened(stage.key, rows))
        _begin(cursor, step, stage, "attest")
    else:
        _fall_short(cursor, step, stage)


def _fall_short(cursor: Cursor, step: Step, stage: StageRow) -> None:
    if _may_rerun(step, stage):
        _begin(cursor, step, cursor.put_stage(stage, tries=stage.tries + 1), stage.window)
    else:
        cause = Output(void=f"{step.stage.name[:48]}-short")
        cursor.put_stage(stage, window="done", output=cause)


def _may_rerun(step: Step, stage: StageRow) -> bool:
    return stage.tries < step.stage.short.reruns and bool(stage.roster)
