"""The mean of updates brought to one length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.mechanisms.aggregation import Geometry, Weights
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import UNIT, ModelRule, equal_scales, scaled_bound

__all__ = ["EqualNorm"]


@register
@dataclass(frozen=True, slots=True)
class EqualNorm(ModelRule):
    """Average the updates after bringing each to the median length of all screened ones.

    Only directions vote. The median is over the stage ``clip_over``, as in ``clipped-mean``; unlike
    there, short updates are lengthened, so that whoever has little to say speaks as loudly.

    Notes
    -----
    Scales are floors of 2^-16, no larger than keeps values within 32 bits; an update of length zero
    stays as it is. The mean rounds to the nearest integer, ties up. O(n d) time, one chunk of
    memory. Bounds the influence of each update; tolerates nobody's direction.

    References
    ----------
    Our repair of LearningChain (Chen, Ji, Luo, Liao, Li, IEEE Big Data 2018), whose normalised
    gradients are a promise of the sender's.
    """

    id: ClassVar[str] = "aggregate/equal-norm/1"
    refs: ClassVar[tuple[str, ...]] = ("clip_over",)

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """See `Aggregation.weigh`."""
        scales = equal_scales(geometry)
        factors = tuple(scale * count for scale, count in zip(scales, counts, strict=True))
        return Weights(factors, UNIT * sum(counts), scaled_bound(geometry, scales))
