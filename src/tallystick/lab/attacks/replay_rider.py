"""Replay rider: trained once, paid every round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import disguised, rows_of
from tallystick.mechanisms.records import Artefact

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["ReplayRider"]


@dataclass(frozen=True, slots=True)
class ReplayRider(Attack):
    """Submit one's own update of the last completed round again, as if it were this round's.

    Without a strength the very same bytes, named as built on this round's model; with one, a copy
    moved at random by that share of its length. It trains in the first round, and whenever its
    last update was not listed.

    Its author knows its own past; it needs no data from the second round on.

    References
    ----------
    Lin, Du, Liu, 2019. arXiv:1911.12560 (free-riders in general; replaying is our definition).
    """

    name: ClassVar[str] = "replay-rider"
    default_strength: ClassVar[float | None] = 0.0

    def choose_artefact(self, knowledge: Knowledge) -> Artefact | None:
        """See `Conduct.choose_artefact`."""
        for found in knowledge.last:
            if found.author == knowledge.member and found.columns[0] and not self.power:
                size, weight = found.columns[:2]
                return Artefact(found.id, size, (knowledge.parent[0],), weight)
        return None

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        own = knowledge.revealed().get(knowledge.member)
        if own is None:
            return trained
        (row,) = rows_of([own])
        return disguised(parent, row, generator, self.power)
