"""Inner-product manipulation: the mean, backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.colluding import Colluding

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Ipm"]


@dataclass(frozen=True, slots=True)
class Ipm(Colluding):
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
    fewest: ClassVar[int] = 1

    def wanted(self, rows: np.ndarray) -> np.ndarray:
        """See `Colluding.wanted`."""
        return -self.power * rows.mean(axis=0)
