"""What a task spent of its members' data sets in privacy, charge by charge, read off its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.mechanisms.theory.rdp import ORDERS, compose, epsilon_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.mechanisms.theory.rdp import Vector
    from tallystick.provenance.facts import At, TaskHistory

__all__ = ["Spent", "spending"]


@dataclass(frozen=True, slots=True)
class Spent:
    """One charge, and what the task has spent of that data set with it.

    Attributes
    ----------
    charges
        How often the task has charged the data set, this one counted.
    epsilon_nanos, delta_picos
        What that comes to, by the terms' table: billionths, and units of 10^-12. Other tasks may
        have spent more of it; the ledger's state has the sum.
    """

    at: At
    round: int
    stage: str
    member: str
    dataset: bytes
    charges: int
    epsilon_nanos: int
    delta_picos: int


def spending(history: TaskHistory) -> Iterator[Spent]:
    """Yield every charge of the task, in the order of its log."""
    sums: dict[tuple[str, bytes], tuple[int, Vector]] = {}
    nothing = (0, (0,) * len(ORDERS))
    for found in history.rounds:
        for at, note in found.charged:
            step = history.plan.find(note.key.phase, note.key.stage)
            cost = None if step is None else step.charge
            if cost is None:
                continue
            whose = (note.member, note.dataset)
            charges, spent = sums.get(whose, nothing)
            sums[whose] = charges, spent = charges + 1, compose(spent, cost.rdp)
            yield Spent(
                at=at,
                round=found.number,
                stage=note.key.stage,
                member=note.member,
                dataset=note.dataset,
                charges=charges,
                epsilon_nanos=epsilon_of(spent, cost.table),
                delta_picos=cost.delta_picos,
            )
