"""The mean of each coordinate's values that are closest to its median."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import Geometry, Row, Rows, Weights
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import (
    A_THIRD,
    ModelRule,
    check_tolerance,
    equal_weights,
    tolerated,
)
from tallystick.tensors.order import around_median_rows

__all__ = ["MeanAroundMedian"]


@register
@dataclass(frozen=True, slots=True)
class MeanAroundMedian(ModelRule):
    """Average each coordinate after dropping the `f` values furthest from its median.

    Where a trimmed mean drops as many honest values as there may be others, on both sides, this
    drops only the outer ones.

    Parameters
    ----------
    f
        How many updates may be arbitrary; -1 for as many as are less than a third of those there.

    Notes
    -----
    Void "not-enough-updates" below ``2f + 1`` updates. The median of an even number is the average
    of the middle two, unrounded; of two values equally far from it the higher one goes. Rounds to
    the nearest integer, ties up. Weights are ignored. O(n log² n · d) time, one chunk of memory.
    Tolerates `f` arbitrary updates.

    References
    ----------
    Xie, Koyejo, Gupta, "Generalized Byzantine-tolerant SGD", 2018. arXiv:1802.10116.

    Examples
    --------
    >>> import numpy as np
    >>> weights = Weights(factors=(1,) * 4, divisor=4, bound=900)
    >>> MeanAroundMedian(f=1).combine(np.array([[1], [2], [3], [900]], np.int32), weights).tolist()
    [2]
    """

    id: ClassVar[str] = "aggregate/mean-around-median/1"

    f: int = A_THIRD

    def __post_init__(self) -> None:
        """Refuse a negative tolerance."""
        check_tolerance(self.f)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count the same
    ) -> Weights:
        """See `Aggregation.weigh`: nobody is preferred."""
        return equal_weights(geometry, self.f)

    def combine(self, rows: Rows, weights: Weights) -> Row:  # noqa: ARG002 - all count the same
        """See `Aggregation.combine`."""
        return around_median_rows(rows, tolerated(self.f, len(rows)))

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(f=0), cls(f=1)]
