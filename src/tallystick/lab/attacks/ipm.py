"""Inner-product manipulation: the mean, backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import add_update, arrays_of, disguise, rows_of

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["Ipm"]


@dataclass(frozen=True, slots=True)
class Ipm(Attack):
    """Submit -epsilon times the mean of the colluders' own updates; the strength is epsilon.

    A plain mean is reversed once attackers times epsilon exceed the honest: above 2.33 for 6 of 20.
    The thousandth by which colluders differ is ours.

    Its author knows what its allies trained this round; beside ``omniscient``, what the honest did.

    References
    ----------
    Xie, Koyejo, Gupta, UAI 2019. arXiv:1903.03936.
    """

    name: ClassVar[str] = "ipm"
    default_strength: ClassVar[float | None] = 2.5

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        rows = rows_of(knowledge.allies().values())
        if not len(rows):
            return trained
        wanted = -self.power * rows.mean(axis=0)
        return add_update(parent, arrays_of(disguise(wanted, generator), parent))
