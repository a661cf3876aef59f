"""Which attested outputs can be opened now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.federation.outbox import Said
from tallystick.ledger.collect.rows import RECORDS, STAGES, MemberRow
from tallystick.ledger.messages import Opening

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.federation.foresight import Foreseen
    from tallystick.ledger.collect.view import TaskView

__all__ = ["openings"]


def openings(view: TaskView, foreseen: Sequence[Foreseen]) -> list[Said]:
    """Return the openings that have more than two thirds of their signatures, in order.

    A group without them does not keep the stage's other groups waiting; but no later stage can
    open before all of them have.
    """
    found: list[Said] = []
    for index, ahead in enumerate(foreseen):
        starts = not index or foreseen[index - 1].step is not ahead.step
        if starts and len(found) < index:
            break
        signed, asked = _signatures(view, ahead)
        if 3 * signed > 2 * asked:
            opening = Opening(ahead.key.stage, ahead.key.group, ahead.output)
            found.append(Said(("open", ahead.key, ahead.inputs, signed), opening))
    return found


def _signatures(view: TaskView, ahead: Foreseen) -> tuple[int, int]:
    """Return how many of the stage's roster signed, and how many it has."""
    stage = view.state.get(STAGES, ahead.key)
    seats = view.attesters(ahead.step, ahead.key.group, everybody=False)
    names = [seat.member for seat in (stage.roster if stage else seats)]
    rows = (view.state.get(RECORDS, ahead.key, name) or MemberRow() for name in names)
    return sum(bool(row.signatures) for row in rows), len(names)
