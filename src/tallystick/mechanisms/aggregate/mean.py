"""The weighted mean: every update counts as declared, agreed or once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.mechanisms.aggregation import Geometry, Weights
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import UNIT, ModelRule

__all__ = ["Mean"]


@register
@dataclass(frozen=True, slots=True)
class Mean(ModelRule):
    """Average each coordinate.

    Federated averaging with sums that are exact, so that nobody can argue about their order. One
    liar can move it anywhere: screen before it.

    Notes
    -----
    Rounds to the nearest integer, ties up. O(n d) time, one chunk of memory. Tolerates nobody.

    References
    ----------
    McMahan, Moore, Ramage, Hampson, Agüera y Arcas, AISTATS 2017. arXiv:1602.05629.

    Examples
    --------
    >>> import numpy as np
    >>> weights = Weights(factors=(1, 3), divisor=4, bound=8)
    >>> Mean().combine(np.array([[0, 4], [8, 5]], np.int32), weights).tolist()
    [6, 5]
    """

    id: ClassVar[str] = "aggregate/mean/1"

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """See `Aggregation.weigh`: nobody is shortened."""
        factors = tuple(UNIT * count for count in counts)
        return Weights(factors, UNIT * sum(counts), geometry.bound)
