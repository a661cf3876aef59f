"""A little is enough: as far from the mean as chance would have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.colluding import Colluding

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Alie"]


@dataclass(frozen=True, slots=True)
class Alie(Colluding):
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

    def wanted(self, rows: np.ndarray) -> np.ndarray:
        """See `Colluding.wanted`."""
        return rows.mean(axis=0) - self.power * rows.std(axis=0)
