"""Colluders who agree on one update: what several attacks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import disguised, rows_of

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["Colluding"]


@dataclass(frozen=True, slots=True)
class Colluding(Attack):
    """Everybody submits what follows from all colluders' own updates, a thousandth apart.

    Attributes
    ----------
    fewest
        How many it takes; fewer submit honest work.
    """

    fewest: ClassVar[int] = 2

    def wanted(self, rows: np.ndarray) -> np.ndarray:
        """Return the update, shape (d,), that follows from the colluders' own, shape (n, d)."""
        raise NotImplementedError

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        rows = rows_of(knowledge.allies().values())
        if len(rows) < self.fewest:
            return trained
        return disguised(parent, self.wanted(rows), generator)
