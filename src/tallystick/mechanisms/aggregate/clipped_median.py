"""The coordinate median of updates shortened to the median length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.mechanisms.aggregation import Geometry, Row, Rows, Weights
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import SCALE_BITS, UNIT, ModelRule, clipping_scales
from tallystick.tensors.arithmetic import scale_rows
from tallystick.tensors.order import median_rows

__all__ = ["ClippedMedian"]


@register
@dataclass(frozen=True, slots=True)
class ClippedMedian(ModelRule):
    """Take the median of each coordinate after shortening updates to the median length.

    The median is over the stage ``clip_over``, as in `ClippedMean`.

    Notes
    -----
    Scales round down; a scaled value rounds to the nearest integer, ties up; of an even number of
    updates the median is the floor of the average of the middle two. Weights are ignored.
    Tolerates fewer than half arbitrary updates.

    References
    ----------
    Yin, Chen, Ramchandran, Bartlett, ICML 2018. arXiv:1803.01498.

    Examples
    --------
    >>> import numpy as np
    >>> weights = Weights(factors=(1 << 16, 1 << 16, 1 << 15), divisor=3 << 16, bound=900)
    >>> ClippedMedian().combine(np.array([[1], [500], [900]], np.int32), weights).tolist()
    [450]
    """

    id: ClassVar[str] = "aggregate/clipped-median/1"
    refs: ClassVar[tuple[str, ...]] = ("clip_over",)

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """See `Aggregation.weigh`."""
        return Weights(clipping_scales(geometry), UNIT * sum(counts), geometry.bound)

    def combine(self, rows: Rows, weights: Weights) -> Row:
        """See `Aggregation.combine`."""
        return median_rows(scale_rows(rows, weights.factors, SCALE_BITS))
