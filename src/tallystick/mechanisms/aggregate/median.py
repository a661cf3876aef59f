"""The coordinate median: the middle value of each parameter, whoever sent it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.mechanisms.aggregation import Geometry, Row, Rows, Weights
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import UNIT, ModelRule
from tallystick.tensors.order import median_rows

__all__ = ["Median"]


@register
@dataclass(frozen=True, slots=True)
class Median(ModelRule):
    """Take the median of each coordinate.

    Notes
    -----
    Of an even number of updates it is the floor of the average of the middle two. Weights are
    ignored. O(n log² n · d) time, one chunk of memory. Tolerates fewer than half arbitrary updates.

    References
    ----------
    Yin, Chen, Ramchandran, Bartlett, ICML 2018. arXiv:1803.01498.

    Examples
    --------
    >>> import numpy as np
    >>> weights = Weights(factors=(1, 1, 1), divisor=3, bound=900)
    >>> Median().combine(np.array([[1], [3], [900]], np.int32), weights).tolist()
    [3]
    """

    id: ClassVar[str] = "aggregate/median/1"

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """See `Aggregation.weigh`: nobody is shortened."""
        return Weights((UNIT,) * len(counts), UNIT * sum(counts), geometry.bound)

    def combine(self, rows: Rows, weights: Weights) -> Row:  # noqa: ARG002 - all count the same
        """See `Aggregation.combine`."""
        return median_rows(rows)
