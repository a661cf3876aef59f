"""Min-sum: no further from all honest updates together than the worst of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tallystick.lab.attacks.colluding import Colluding
from tallystick.lab.attacks.min_max import squared_distances

__all__ = ["MinSum"]


@dataclass(frozen=True, slots=True)
class MinSum(Colluding):
    """Submit the mean, moved backwards as far as it still looks honest.

    Looking honest means: its squared distances to the sample add up to no more than those of the
    update in it that is furthest from the others. All else is as in `min-max`, which is stronger.

    Its author knows what its allies trained this round; beside ``omniscient``, what the honest did.

    References
    ----------
    Shejwalkar, Houmansadr, NDSS 2021 (the aggregation-agnostic attacks).
    """

    name: ClassVar[str] = "min-sum"

    def wanted(self, rows: np.ndarray) -> np.ndarray:
        """See `Colluding.wanted`."""
        mean = rows.mean(axis=0)
        square = len(rows) * (mean @ mean)
        room = squared_distances(rows).sum(axis=1).max() - ((rows - mean) ** 2).sum()
        back = np.sqrt(max(room, 0) / square) if square else 0.0
        return (1 - back) * mean
