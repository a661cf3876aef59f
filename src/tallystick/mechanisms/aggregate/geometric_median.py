"""The geometric median: the point with the smallest sum of distances to all updates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import Geometry, Weights
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import ModelRule
from tallystick.tensors.arithmetic import NORM_GUARD_BITS, norm_of
from tallystick.tensors.geometry import Gram, shares_of, squared_distances_to

__all__ = ["GeometricMedian", "weiszfeld_shares"]


GUARD_BITS = 64


@register
@dataclass(frozen=True, slots=True)
class GeometricMedian(ModelRule):
    """Approximate the geometric median by a fixed number of Weiszfeld's steps.

    It begins at the mean. Each step averages the updates anew, each with the inverse of its
    distance to where the last step ended: what lies far away pulls with no more than its direction.

    Parameters
    ----------
    iterations
        Steps, from 1 to 1000: a fixed number, so that nobody decides when it is good enough.

    Notes
    -----
    Distances are exact, their roots rounded down in 2^-32 of a step, and no less than a step (the
    smoothing). Shares are floors of 2^-30, and are divided by their sum; the mean rounds to the
    nearest integer, ties up. The result differs from the same steps in real numbers by less than
    half a step and n · 2^-28 of the largest value. Weights are ignored. O(n² d) time in float64
    BLAS for the products, O(n²) a step, one chunk of memory. Tolerates fewer than half arbitrary
    updates; one far away then needs more steps to be forgotten.

    References
    ----------
    Weiszfeld, Tohoku Mathematical Journal 43, 1937; as an aggregation rule Pillutla, Kakade,
    Harchaoui, IEEE Transactions on Signal Processing 2022, arXiv:1912.13445. Start, smoothing and
    number of steps are our definition.
    """

    id: ClassVar[str] = "aggregate/geometric-median/1"

    iterations: int = 32

    def __post_init__(self) -> None:
        """Refuse no steps, or more than anybody would wait for."""
        if not 1 <= self.iterations <= 1000:  # noqa: PLR2004 - the documented range
            msg = f"iterations is 1 to 1000, not {self.iterations}"
            raise ValueError(msg)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count the same
    ) -> Weights:
        """See `Aggregation.weigh`."""
        shares = weiszfeld_shares(geometry.gram, self.iterations)
        return Weights(shares, sum(shares), geometry.bound)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(), cls(iterations=1)]


def weiszfeld_shares(products: Gram, iterations: int) -> tuple[int, ...]:
    """Return each row's share of the point after so many steps, in 2^-30.

    Examples
    --------
    >>> [share >> 20 for share in weiszfeld_shares([[0, 0, 0], [0, 0, 0], [0, 0, 1 << 80]], 9)]
    [511, 511, 0]
    """
    shares = (1,) * len(products)
    for _ in range(iterations):
        whole = sum(shares)
        squares = squared_distances_to(products, shares, whole)
        lengths = [max(norm_of(square), whole << NORM_GUARD_BITS) for square in squares]
        longest = max(lengths) << GUARD_BITS
        inverses = [longest // length for length in lengths]
        shares = shares_of(inverses, sum(inverses))
    return shares
