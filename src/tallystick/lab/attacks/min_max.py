"""Min-max: as far from the mean as two honest updates are from one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tallystick.lab.attacks.colluding import Colluding

__all__ = ["MinMax", "squared_distances"]


@dataclass(frozen=True, slots=True)
class MinMax(Colluding):
    """Submit the mean, moved backwards as far as it still looks honest.

    Looking honest means: no update of the sample is further away than the two of them that are
    furthest apart. How far that is is solved for exactly. Backwards, the mean's own direction
    reversed, is known as the inverse unit vector: of the three perturbations we tried (the sign
    and the standard deviation were the others) it harmed an average most. The thousandth by which
    colluders differ is ours. One attacker alone submits honest work.

    Its author knows what its allies trained this round; beside ``omniscient``, what the honest did.

    References
    ----------
    Shejwalkar, Houmansadr, NDSS 2021 (the aggregation-agnostic attacks).
    """

    name: ClassVar[str] = "min-max"

    def wanted(self, rows: np.ndarray) -> np.ndarray:
        """See `Colluding.wanted`."""
        mean = rows.mean(axis=0)
        return mean - _furthest(rows, mean) * mean


def squared_distances(rows: np.ndarray) -> np.ndarray:
    """Return the squared distance of each pair of rows, shape (n, n)."""
    products = rows @ rows.T
    squares = np.diag(products)
    return np.maximum(squares[:, None] + squares - 2 * products, 0)


def _furthest(rows: np.ndarray, mean: np.ndarray) -> float:
    """Return the largest g with every row within the largest distance of (1 - g) mean."""
    square = mean @ mean
    if not square:
        return 0.0
    offsets = rows - mean
    along = offsets @ mean
    room = squared_distances(rows).max() - (offsets**2).sum(axis=1)
    roots = (-along + np.sqrt(np.maximum(along**2 + square * room, 0))) / square
    return max(0.0, float(roots.min()))
