"""Bucketing: updates averaged in buckets drawn by lot, before another rule combines."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import (
    Geometry,
    Mixing,
    NotEnoughUpdatesError,
    Row,
    Rows,
    Weights,
)
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.mixing import check_after, combine_mixed, weigh_mixed
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import A_THIRD, ModelRule, check_tolerance, tolerated

__all__ = ["Bucketing"]


@register
@dataclass(frozen=True, slots=True)
class Bucketing(ModelRule):
    """Average updates in buckets of `s` drawn by the task's beacon, then combine these.

    Honest updates differ where data differ, and robust rules take it for lies; their averages
    differ less. Up to `f` buckets are spoilt, of fewer: the rule after it has to bear that.

    Parameters
    ----------
    s
        Updates in a bucket; the last one may have fewer. At least 1.
    then
        The rule that combines the buckets, with `f` where it has one: mean, median, trimmed-mean,
        mean-around-median, krum, multi-krum or geometric-median, by its id.
    f
        How many updates may be arbitrary, and buckets spoilt; -1 for as many as are less than a
        third of the buckets.

    Notes
    -----
    Updates are dealt in the order of their authors' tickets (RND-8), each bucket filled before the
    next. Void "not-enough-updates" below ``2f + 1`` buckets, and as the rule after it is. Means
    of buckets round to the nearest integer, ties up; the rule's geometry is that of the means
    before rounding. Weights are ignored. O(n² d) time in float64 BLAS, one chunk of memory.
    Tolerates `f` arbitrary updates, as the rule after it does `f` of the buckets.

    References
    ----------
    Karimireddy, He, Jaggi, ICLR 2022. arXiv:2006.09365.
    """

    id: ClassVar[str] = "aggregate/bucketing/1"

    s: int = 2
    then: str = "aggregate/median/1"
    f: int = A_THIRD

    def __post_init__(self) -> None:
        """Refuse empty buckets, a negative tolerance and a rule that cannot follow."""
        check_tolerance(self.f)
        check_after(self.then)
        if self.s < 1:
            msg = f"s is at least 1, not {self.s}"
            raise ValueError(msg)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count the same
    ) -> Weights:
        """See `Aggregation.weigh`."""
        beacon, key = geometry.inputs.beacon, geometry.inputs.key
        count = len(geometry.updates)
        dealt = sorted(
            range(count), key=lambda at: (ticket(beacon, key, geometry.updates[at].author), at)
        )
        buckets = [set(dealt[start : start + self.s]) for start in range(0, count, self.s)]
        divisor = math.lcm(*map(len, buckets))
        matrix = tuple(
            tuple(divisor // len(bucket) if at in bucket else 0 for at in range(count))
            for bucket in buckets
        )
        needed = 2 * tolerated(self.f, len(buckets)) + 1
        if len(buckets) < needed:
            raise NotEnoughUpdatesError(needed, len(buckets))
        return weigh_mixed(self.then, self.f, geometry, Mixing(matrix, divisor))

    def combine(self, rows: Rows, weights: Weights) -> Row:
        """See `Aggregation.combine`."""
        return combine_mixed(self.then, self.f, rows, weights)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [
            cls(),
            cls(s=3, then="aggregate/mean/1"),
            cls(s=1, then="aggregate/trimmed-mean/1", f=1),
        ]
