"""Get the bytes a member will need before it is asked about them, and hand on the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.ledger.collect.rows import STAGES
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.records import Key

if TYPE_CHECKING:
    from tallystick.federation.carrier import Carrier
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.view import TaskView

__all__ = ["hand_on_after", "provide"]

NEXT_HAND_MILLISECONDS = 5000  # until the next member hands on a model, and longer
BYTES_PER_MILLISECOND = 20_000  # for a large one, which takes whoever is first a while


def provide(view: TaskView, step: Step, member: str, carrier: Carrier, now: int) -> int | None:
    """Begin to fetch what a step needs; hand on the model it builds on, if that falls to a member.

    Everybody who attests computes the model; whoever was away fetches it. One member hands it on
    at once, the next one some seconds later if that one is away, and so on.

    Returns
    -------
    int or None
        When to look again, in milliseconds; `None` when there is nothing to look for.
    """
    task = view.row.id
    later = None
    root, size = view.parent(step)
    if root and carrier.fetch(task, root, size):
        later = _turn(view, step, member, size)
        if later <= now:
            carrier.deliver(task, root)
    for reference in () if step.on_ledger else step.stage.of:
        for found in view.output(reference, step.phase, step.position).live:
            if view.first_author(found.id):
                carrier.fetch(task, found.id)
    return later if later is not None and later > now else None


def hand_on_after(view: TaskView, member: str, size: int) -> int:
    """Return how many milliseconds a member waits for others to hand on a model of ``size`` bytes.

    0 for whoever is first; who that is changes from round to round.
    """
    key = Key(view.row.id, view.row.phase, view.row.round, "model", "")
    order = sorted(view.terms.parties, key=lambda name: ticket(view.row.id, key, name))
    return order.index(member) * (NEXT_HAND_MILLISECONDS + size // BYTES_PER_MILLISECOND)


def _turn(view: TaskView, step: Step, member: str, size: int) -> int:
    """Return from when on a member hands on the model; 0 for whoever is first."""
    wait = hand_on_after(view, member, size)
    stage = view.state.get(STAGES, view.row.open[0]) if view.row.open else None
    if not wait or stage is None:
        return 0
    length = step.stage.hold if stage.window == "hold" else step.stage.within
    return stage.ends + view.row.excess - length + wait
