"""The mean of updates shortened to the median length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.mechanisms.aggregation import Geometry, Weights
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import UNIT, ModelRule, clipping_scales

__all__ = ["ClippedMean"]


@register
@dataclass(frozen=True, slots=True)
class ClippedMean(ModelRule):
    """Average the updates after shortening each to the median length of all screened ones.

    A long update then moves the model no further than an ordinary one. The median is over the
    stage ``clip_over``, not over the accepted: who captures acceptance must not set the length.

    Notes
    -----
    The divisor is what unshortened updates would weigh. Scales round down, the mean to the
    nearest integer, ties up. Bounded influence of each update; tolerates long ones up to half.

    References
    ----------
    Karimireddy, He, Jaggi, ICML 2021. arXiv:2012.10333 (clipping as a defence; there to a radius
    around momentum, here to the median length).

    Examples
    --------
    >>> import numpy as np
    >>> weights = Weights(factors=(2, 1), divisor=4, bound=8)
    >>> ClippedMean().combine(np.array([[2, 4], [8, 8]], np.int32), weights).tolist()
    [3, 4]
    """

    id: ClassVar[str] = "aggregate/clipped-mean/1"
    refs: ClassVar[tuple[str, ...]] = ("clip_over",)

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """See `Aggregation.weigh`."""
        pairs = zip(clipping_scales(geometry), counts, strict=True)
        factors = tuple(scale * count for scale, count in pairs)
        return Weights(factors, UNIT * sum(counts), geometry.bound)
