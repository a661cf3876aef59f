"""A little is enough: as far from the mean as chance would have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import add_update, arrays_of, disguise, rows_of

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["Alie"]


@dataclass(frozen=True, slots=True)
class Alie(Attack):
    """Submit mean - z * standard deviation, by coordinate, over the colluders' own updates.

    The strength is z; the largest that a vote of the majority leaves unsuspicious follows from the
    numbers, and is 0.37 for 6 attackers of 20. That the deviation is subtracted, and taken over n,
    is our definition; so is the thousandth by which colluders differ. One attacker alone submits
    honest work.

    Its author knows what its allies trained this round; beside ``omniscient``, what the honest did.

    References
    ----------
    Baruch, Baruch, Goldberg, NeurIPS 2019. arXiv:1902.06156.
    """

    name: ClassVar[str] = "alie"
    default_strength: ClassVar[float | None] = 1.5

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        rows = rows_of(knowledge.allies().values())
        if len(rows) < 2:
            return trained
        wanted = rows.mean(axis=0) - self.power * rows.std(axis=0)
        return add_update(parent, arrays_of(disguise(wanted, generator), parent))
