"""Nearest-neighbour mixing: each update replaced by the mean of those nearest to it."""

from __future__ import annotations

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
from tallystick.mechanisms.mixing import check_after, combine_mixed, weigh_mixed
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import A_THIRD, ModelRule, check_tolerance, tolerated
from tallystick.tensors.geometry import nearest, squared_distances

__all__ = ["NearestNeighbourMixing"]


@register
@dataclass(frozen=True, slots=True)
class NearestNeighbourMixing(ModelRule):
    """Replace each update by the mean of the n - f nearest to it, then combine these.

    Honest updates differ where data differ, and robust rules take it for lies. Mixtures differ
    less, so the rule after it has to be robust against less.

    Parameters
    ----------
    then
        The rule that combines the mixtures, with `f` where it has one: mean, median, trimmed-mean,
        mean-around-median, krum, multi-krum or geometric-median, by its id.
    f
        How many updates may be arbitrary; -1 for as many as are less than a third of those there.

    Notes
    -----
    Void "not-enough-updates" below ``2f + 1`` updates, and as the rule after it is. Each update is
    among its own nearest; distances are exact, ties go by id, author and group. A mixture rounds to
    the nearest integer, ties up; the rule's geometry is that of the mixtures before rounding.
    Weights are ignored. O(n² d) time in float64 BLAS, one chunk of memory. Tolerates `f` arbitrary
    updates, as the rule after it does.

    References
    ----------
    Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023. arXiv:2302.01772.
    """

    id: ClassVar[str] = "aggregate/nearest-neighbour-mixing/1"

    then: str = "aggregate/median/1"
    f: int = A_THIRD

    def __post_init__(self) -> None:
        """Refuse a negative tolerance and a rule that cannot follow."""
        check_tolerance(self.f)
        check_after(self.then)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count the same
    ) -> Weights:
        """See `Aggregation.weigh`."""
        distances = squared_distances(geometry.gram)
        count = len(distances)
        f = tolerated(self.f, count)
        if count < 2 * f + 1:
            raise NotEnoughUpdatesError(2 * f + 1, count)
        groups = [set(nearest(line, count - f)) for line in distances]
        matrix = tuple(tuple(int(at in group) for at in range(count)) for group in groups)
        return weigh_mixed(self.then, f, geometry, Mixing(matrix, count - f))

    def combine(self, rows: Rows, weights: Weights) -> Row:
        """See `Aggregation.combine`."""
        return combine_mixed(self.then, tolerated(self.f, len(rows)), rows, weights)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(f=1), cls(then="aggregate/krum/1", f=0), cls(then="aggregate/mean/1")]
