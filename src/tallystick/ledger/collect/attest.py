"""Attested stages: signatures first, the output later.

Members sign the stage's inputs and their output's root before anybody names the output, so nobody
can copy it. An opening counts when more than two thirds of the roster signed what it opens. A
signature that matches nothing is no fault; two valid ones over different outputs on the same
inputs are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tallystick.crypto import keys
from tallystick.ledger.collect.notes import Attested, Forfeited
from tallystick.ledger.collect.row import LateRecordError, NotOpenError, UnknownStageError
from tallystick.ledger.collect.rows import MechanismError
from tallystick.ledger.collect.view import attested_message, inputs_root
from tallystick.ledger.contracts import accounts, members
from tallystick.mechanisms.records import Key

if TYPE_CHECKING:
    from tallystick.ledger.collect.cursor import Cursor
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.rows import StageRow
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import Accuse, Opening

__all__ = [
    "ATTEST_DOMAIN",
    "BadAccusationError",
    "BadOpeningError",
    "NoQuorumError",
    "accept_opening",
    "accuse",
    "signers_of",
]

ATTEST_DOMAIN = b"attest/1"


class NoQuorumError(MechanismError):
    """Two thirds of the roster or fewer signed this output."""

    slug: ClassVar[str] = "no-quorum"
    code: ClassVar[int] = 512


class BadOpeningError(MechanismError):
    """An attested output carries effects, which only ledger rules may have, or a sizeless model."""

    slug: ClassVar[str] = "bad-opening"
    code: ClassVar[int] = 513


class BadAccusationError(MechanismError):
    """The two signatures do not prove what is claimed, or it was proven before."""

    slug: ClassVar[str] = "bad-accusation"
    code: ClassVar[int] = 514


def accept_opening(cursor: Cursor, opening: Opening) -> bool:
    """Take an output whose signatures are in; return whether its stage instance is done.

    Raises
    ------
    MechanismError
        The stage is not open, the output is not allowed, or too few signed it.
    """
    step = cursor.step
    if step is None or step.stage.name != opening.stage or not step.attested:
        known = cursor.plan.find(cursor.row.phase, opening.stage)
        if known is None or not known.attested:
            raise UnknownStageError
        raise (LateRecordError if known.position < cursor.row.position else NotOpenError)
    key = cursor.key(step, opening.group)
    stage = cursor.stage(key)
    if stage is None or key not in cursor.row.open:
        raise UnknownStageError
    if stage.window != "attest":
        raise LateRecordError
    made = opening.output.live if step.yields_model else ()
    if opening.output.effects or any(not found.columns or found.columns[0] <= 0 for found in made):
        raise BadOpeningError
    inputs = inputs_root(cursor.inputs(step, opening.group))
    signers = signers_of(cursor, step, stage, inputs, opening.output.root)
    if 3 * len(signers) <= 2 * len(stage.roster):
        msg = f"{len(signers)} of {len(stage.roster)} signed this output"
        raise NoQuorumError(msg)
    cursor.note(Attested(key, inputs, signers, len(stage.roster)))
    cursor.put_stage(stage, window="done", output=opening.output)
    return True


def signers_of(
    cursor: Cursor, step: Step, stage: StageRow, inputs: bytes, output: bytes
) -> tuple[str, ...]:
    """Return the roster's members whose signature over this output verifies."""
    message = attested_message(stage.key, inputs, step.rule.id, output)
    found: list[str] = []
    for seat in stage.roster:
        row = cursor.records(stage.key, seat.member)
        for index, signature in reversed(row.signatures):
            key = members.active_key(cursor.state, seat.member, index)
            if key and keys.is_valid(key.public, ATTEST_DOMAIN, message, signature):
                found.append(seat.member)
                break
    return tuple(found)


def accuse(cursor: Cursor, context: Context, message: Accuse) -> None:
    """Record the one fault of attestation: two outputs signed on the same inputs.

    Raises
    ------
    MechanismError
        The evidence does not hold.
    """
    step = cursor.plan.find(message.phase, message.stage)
    if step is None or not step.attested:
        raise UnknownStageError
    key = Key(cursor.row.id, message.phase, message.round, message.stage, message.group)
    if message.outputs[0] == message.outputs[1]:
        raise BadAccusationError
    here, there = (cursor.row.phase, cursor.row.round), (message.phase, message.round)
    if there > here:
        msg = "a round that has not begun"
        raise BadAccusationError(msg)
    row = cursor.state.get(members.MEMBERS, message.member)
    # A key that was replaced convicts nobody: whoever stole it could sign anything.
    publics = () if row is None else tuple(known.public for known in row.keys if known.active)
    for output, signature in zip(message.outputs, message.signatures, strict=True):
        signed = attested_message(key, message.inputs, step.rule.id, output)
        if not any(keys.is_valid(key_, ATTEST_DOMAIN, signed, signature) for key_ in publics):
            raise BadAccusationError
    # A bond answers for its own round, each time there is one to lose: who had itself accused
    # before it put up its bond is not spared afterwards.
    bond = accounts.bond_of(cursor.state, cursor.row.id, message.member)
    micros = bond.round if there == here else 0
    if message.member in cursor.row.faulty and not micros:
        msg = f"'{message.member}' was found out before"
        raise BadAccusationError(msg)
    lost = accounts.forfeit_bond(cursor.state, cursor.row.id, message.member, micros)
    cursor.change(faulty=tuple(sorted({*cursor.row.faulty, message.member})))
    cursor.note(Forfeited(key, message.member, lost, f"two-outputs-by-{context.sender}"[:32]))
