"""One stage instance: which records it takes, and when its windows shut.

A window waits for its roster, less those who doze once enough have answered, and shuts at the end
of a block: when all it waits for are in, or when it has run its length in task time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from tallystick.crypto import keys
from tallystick.ledger.collect.beacon import seal_of
from tallystick.ledger.collect.notes import Charged
from tallystick.ledger.collect.rows import (
    MOST_SIGNATURES,
    MechanismError,
    MemberRow,
    StageRow,
)
from tallystick.ledger.contracts import accounts, budgets, members
from tallystick.mechanisms.records import (
    SETUP,
    Artefact,
    Attestation,
    Complaint,
    Key,
    Opinion,
    Seal,
)

if TYPE_CHECKING:
    from tallystick.ledger.collect.cursor import Cursor
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.rows import SeatRow
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import Entry
    from tallystick.mechanisms.rule import Seat

__all__ = [
    "AlreadyRecordedError",
    "CopiedArtefactError",
    "LateRecordError",
    "NotOnRosterError",
    "NotOpenError",
    "SealMismatchError",
    "UnknownStageError",
    "UnknownSubjectsError",
    "WrongRecordError",
    "accept_entry",
    "expected",
    "has_delivered",
    "hold_decisions",
    "is_due",
]

COSIGN_DOMAIN = b"cosign/1"


class UnknownStageError(MechanismError):
    """The recipe has no such stage or group."""

    slug: ClassVar[str] = "unknown-stage"
    code: ClassVar[int] = 503


class NotOpenError(MechanismError):
    """The stage or its window has not opened yet."""

    slug: ClassVar[str] = "not-open-yet"
    code: ClassVar[int] = 504


class LateRecordError(MechanismError):
    """The stage or its window has shut."""

    slug: ClassVar[str] = "late-record"
    code: ClassVar[int] = 505


class NotOnRosterError(MechanismError):
    """The stage does not ask this member."""

    slug: ClassVar[str] = "not-on-roster"
    code: ClassVar[int] = 506


class AlreadyRecordedError(MechanismError):
    """The member has answered the stage before."""

    slug: ClassVar[str] = "already-recorded"
    code: ClassVar[int] = 507


class WrongRecordError(MechanismError):
    """Not the kind of record this window takes, or its numbers do not fit the list it is about."""

    slug: ClassVar[str] = "wrong-record"
    code: ClassVar[int] = 508


class SealMismatchError(MechanismError):
    """What is revealed is not what this member sealed, or it sealed nothing."""

    slug: ClassVar[str] = "seal-mismatch"
    code: ClassVar[int] = 509


class CopiedArtefactError(MechanismError):
    """The artefact was revealed by another member, and this one had not sealed it."""

    slug: ClassVar[str] = "copied-artefact"
    code: ClassVar[int] = 510


class UnknownSubjectsError(MechanismError):
    """The opinion is about a list of subjects that this stage does not have."""

    slug: ClassVar[str] = "unknown-subjects"
    code: ClassVar[int] = 511


def accept_entry(cursor: Cursor, context: Context, entry: Entry) -> None:
    """Take one record into its stage instance.

    Raises
    ------
    MechanismError
        The record is refused; each cause has its own code.
    """
    step = cursor.plan.find(entry.phase, entry.stage)
    if step is None:
        msg = f"no stage '{entry.stage}' in this recipe"
        raise UnknownStageError(msg)
    _check_place(cursor, entry, step)
    key = Key(cursor.row.id, entry.phase, entry.round, entry.stage, entry.group)
    if step.attested:
        _accept_ahead(cursor, context, entry, step, key)
        return
    stage = cursor.stage(key)
    if stage is None:
        if step.position > cursor.row.position:
            msg = f"stage '{entry.stage}' is not open yet"
            raise NotOpenError(msg)
        raise (UnknownStageError if key not in cursor.row.open else LateRecordError)
    if isinstance(entry.record, Complaint) and step.rule.record is not Complaint:
        _accept_decline(cursor, context, entry.record, stage)
    elif isinstance(entry.record, Seal):
        _accept_seal(cursor, context, entry.record, step, stage)
    elif stage.window == "hold" and step.held and isinstance(entry.record, Opinion):
        _accept_hold(cursor, context, entry.record, stage)
    else:
        _accept_record(cursor, context, entry, step, stage)


def _check_place(cursor: Cursor, entry: Entry, step: Step) -> None:
    row = cursor.row
    here, there = (row.phase, row.round), (entry.phase, entry.round)
    if there < here or (there == here and step.position < row.position):
        msg = f"stage '{entry.stage}' of round {entry.round} has closed"
        raise LateRecordError(msg)
    if there > here:
        msg = f"round {entry.round} has not begun"
        raise NotOpenError(msg)


def _accept_ahead(cursor: Cursor, context: Context, entry: Entry, step: Step, key: Key) -> None:
    if not isinstance(entry.record, Attestation):
        raise WrongRecordError
    if entry.group not in cursor.groups(step):
        raise UnknownStageError
    if context.sender not in _names(cursor.roster(step.stage.who, entry.group)):
        raise NotOnRosterError
    row = cursor.records(key, context.sender)
    signature = (context.key, entry.record.signature)
    if signature in row.signatures or len(row.signatures) >= MOST_SIGNATURES:
        raise AlreadyRecordedError
    added = msgspec.structs.replace(row, signatures=(*row.signatures, signature))
    cursor.put_records(key, context.sender, added)


def _accept_seal(cursor: Cursor, context: Context, seal: Seal, step: Step, stage: StageRow) -> None:
    _check_seat(context, stage)
    row = cursor.records(stage.key, context.sender)
    if stage.window != "seal":
        raise (LateRecordError if step.stage.sealed else WrongRecordError)
    if row.seal or row.declined:
        raise AlreadyRecordedError
    _take_stake(cursor, context, step, stage.key)
    cursor.put_records(stage.key, context.sender, msgspec.structs.replace(row, seal=seal.seal))


def _accept_decline(cursor: Cursor, context: Context, reason: Complaint, stage: StageRow) -> None:
    """Let a member pass its turn and say why, so that nobody waits for it."""
    _check_seat(context, stage)
    row = cursor.records(stage.key, context.sender)
    if stage.window not in {"seal", "record"}:
        raise LateRecordError
    if row.seal or row.record is not None or row.declined:
        raise AlreadyRecordedError
    said = reason.evidence or b"declined"
    cursor.put_records(stage.key, context.sender, msgspec.structs.replace(row, declined=said))


def _accept_record(
    cursor: Cursor, context: Context, entry: Entry, step: Step, stage: StageRow
) -> None:
    _check_seat(context, stage)
    if stage.window not in {"seal", "reveal", "record"}:
        raise LateRecordError
    if step.rule.record is None or not isinstance(entry.record, step.rule.record):
        raise WrongRecordError
    row = cursor.records(stage.key, context.sender)
    if step.cosign:
        _accept_cosignature(cursor, context, entry, stage, row)
        return
    if row.record is not None or row.declined:
        raise AlreadyRecordedError
    if step.stage.sealed:
        _check_seal(cursor, context, entry, stage, row)
    elif entry.salt:
        msg = "the stage is not sealed; it takes no salt"
        raise WrongRecordError(msg)
    _check_content(cursor, context, entry, step, stage.key)
    if not step.stage.sealed:
        _take_stake(cursor, context, step, stage.key)
    kept = msgspec.structs.replace(row, record=entry.record, salt=entry.salt)
    cursor.put_records(stage.key, context.sender, kept)


def _check_content(cursor: Cursor, context: Context, entry: Entry, step: Step, key: Key) -> None:
    check = getattr(step.rule, "check_record", None)
    if check is not None and not check(entry.record, key):
        msg = "not the record this stage asks for"
        raise WrongRecordError(msg)
    if isinstance(entry.record, Opinion):
        _check_opinion(cursor, entry.record, step, entry.group)
    if step.enrols and isinstance(entry.record, Artefact):
        budgets.check_budget(cursor.state, context.sender, entry.record.root)


def _check_seal(
    cursor: Cursor, context: Context, entry: Entry, stage: StageRow, row: MemberRow
) -> None:
    opened = seal_of(stage.key, entry.record, context.sender, entry.salt)
    if row.seal == opened:
        if stage.window == "seal":
            msg = "the seals are still being collected"
            raise NotOpenError(msg)
        return
    for seat in stage.roster:
        theirs = cursor.records(stage.key, seat.member).record
        if seat.member != context.sender and theirs is not None and theirs == entry.record:
            msg = f"'{seat.member}' revealed this before"
            raise CopiedArtefactError(msg)
    raise SealMismatchError


def _check_opinion(cursor: Cursor, opinion: Opinion, step: Step, group: str) -> None:
    inputs = cursor.inputs(step, group)
    if not inputs.of or opinion.subjects != inputs.of[0].root:
        raise UnknownSubjectsError
    check = getattr(step.rule, "check_vector", None)
    if check is not None and not check(opinion.vector, inputs):
        msg = "the vector does not fit the list of subjects"
        raise WrongRecordError(msg)


def _accept_hold(cursor: Cursor, context: Context, opinion: Opinion, stage: StageRow) -> None:
    if context.sender not in _names(cursor.roster(cursor.terms.holders)):
        raise NotOnRosterError
    row = cursor.records(stage.key, context.sender)
    if row.held is not None:
        raise AlreadyRecordedError
    if opinion.subjects != stage.subject:
        raise UnknownSubjectsError
    size = 0 if stage.listed is None else len(stage.listed.subjects)
    if len(opinion.vector) != size or not set(opinion.vector) <= {0, 1}:
        msg = f"a hold vector has {size} entries, each 0 or 1"
        raise WrongRecordError(msg)
    cursor.put_records(stage.key, context.sender, msgspec.structs.replace(row, held=opinion))


def _accept_cosignature(
    cursor: Cursor, context: Context, entry: Entry, stage: StageRow, row: MemberRow
) -> None:
    if row.signatures:
        raise AlreadyRecordedError
    if not isinstance(entry.record, Attestation):
        raise WrongRecordError
    key = members.active_key(cursor.state, context.sender, context.key)
    signature = entry.record.signature
    if key is None or not keys.is_valid(key.public, COSIGN_DOMAIN, stage.subject, signature):
        msg = "the signature is not over the task's final model and log"
        raise WrongRecordError(msg)
    kept = msgspec.structs.replace(row, signatures=((context.key, signature),))
    cursor.put_records(stage.key, context.sender, kept)


def _take_stake(cursor: Cursor, context: Context, step: Step, key: Key) -> None:
    """Take what a record costs: privacy, escrow, a bond. A seal costs it, a reveal no more."""
    task, sender = cursor.row.id, context.sender
    if step.charge is not None:
        dataset = cursor.dataset(step, sender)
        budgets.charge(cursor.state, sender, dataset, step.charge)
        cursor.note(Charged(key, sender, dataset))
    if step.escrow:
        accounts.fund_escrow(cursor.state, task, sender, step.escrow)
        paid = dict(cursor.row.funders)
        paid[sender] = paid.get(sender, 0) + step.escrow
        cursor.change(funders=tuple(sorted(paid.items())))
    if step.stage.bond:
        standing = step.phase == SETUP
        accounts.lock_bond(cursor.state, task, sender, step.stage.bond, standing=standing)
        if sender not in cursor.row.bonded:
            cursor.change(bonded=tuple(sorted((*cursor.row.bonded, sender))))


def _check_seat(context: Context, stage: StageRow) -> None:
    if context.sender not in _names(stage.roster):
        msg = f"stage '{stage.key.stage}' does not ask '{context.sender}'"
        raise NotOnRosterError(msg)


def expected(cursor: Cursor, step: Step, stage: StageRow) -> tuple[str, ...]:
    """Return whom the stage's window waits for; whoever declined its turn is not asked again."""
    if stage.window == "hold":
        return tuple(seat.member for seat in cursor.roster(cursor.terms.holders))
    names = tuple(
        seat.member for seat in stage.roster if not cursor.records(stage.key, seat.member).declined
    )
    if stage.window == "reveal" and step.stage.sealed:
        return tuple(name for name in names if cursor.records(stage.key, name).seal)
    return names


def has_delivered(cursor: Cursor, stage: StageRow, member: str) -> bool:
    """Whether a member has answered the stage's window."""
    row = cursor.records(stage.key, member)
    match stage.window:
        case "seal":
            return bool(row.seal)
        case "hold":
            return row.held is not None
        case "attest":
            return bool(row.signatures)
        case _:
            return row.record is not None or bool(row.signatures)


def is_due(cursor: Cursor, step: Step, stage: StageRow) -> bool:
    """Whether the stage's window shuts at the end of this block."""
    if cursor.now >= stage.ends:
        return True
    if stage.window == "attest":
        return not stage.roster
    asked = expected(cursor, step, stage)
    awaited = {name for name in asked if not has_delivered(cursor, stage, name)}
    if not awaited:
        return True
    if stage.window == "hold":
        return all(decision is not None for decision in hold_decisions(cursor, stage))
    if stage.window == "reveal":
        return False  # whoever sealed has spoken: it owes its salt, or its stake
    enough = step.need.met(len(asked) - len(awaited), len(stage.roster))
    return enough and awaited <= set(cursor.row.dozing)


def hold_decisions(cursor: Cursor, stage: StageRow) -> tuple[bool | None, ...]:
    """Return, per listed subject, whether holders decided that it is available; `None` if open.

    Decided yes by more than two thirds of the holders, no once that is out of reach.
    """
    holders = tuple(seat.member for seat in cursor.roster(cursor.terms.holders))
    votes = [cursor.records(stage.key, member).held for member in holders]
    subjects = () if stage.listed is None else stage.listed.subjects
    decisions: list[bool | None] = []
    for index, subject in enumerate(subjects):
        yes = sum(vote is not None and vote.vector[index] == 1 for vote in votes)
        silent = sum(vote is None for vote in votes)
        if subject.id not in stage.blobs or yes * 3 > 2 * len(holders):
            decisions.append(True)
        elif (yes + silent) * 3 <= 2 * len(holders):
            decisions.append(False)
        else:
            decisions.append(None)
    return tuple(decisions)


def _names(seats: tuple[Seat, ...] | tuple[SeatRow, ...]) -> frozenset[str]:
    return frozenset(seat.member for seat in seats)
