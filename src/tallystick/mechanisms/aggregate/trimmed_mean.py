"""The coordinate-wise trimmed mean: drop the extremes, average the rest."""

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
from tallystick.tensors.order import trimmed_mean_rows

__all__ = ["TrimmedMean"]


@register
@dataclass(frozen=True, slots=True)
class TrimmedMean(ModelRule):
    """Average each coordinate after dropping its `f` lowest and `f` highest values.

    One liar can move a plain mean anywhere; here every result lies among the honest values.

    Parameters
    ----------
    f
        How many updates may be arbitrary; -1 for as many as are less than a third of those there.

    Notes
    -----
    Void "not-enough-updates" below ``2f + 1`` updates. Rounds to the nearest integer, ties up.
    Weights are ignored. O(n log² n · d) time, one chunk of memory. Tolerates `f` arbitrary updates.

    References
    ----------
    Yin, Chen, Ramchandran, Bartlett, ICML 2018. arXiv:1803.01498.

    Examples
    --------
    >>> import numpy as np
    >>> weights = Weights(factors=(1,) * 4, divisor=4, bound=900)
    >>> TrimmedMean(f=1).combine(np.array([[1], [2], [3], [900]], np.int32), weights).tolist()
    [3]
    """

    id: ClassVar[str] = "aggregate/trimmed-mean/1"

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
        return trimmed_mean_rows(rows, tolerated(self.f, len(rows)))

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(f=0), cls(f=1)]
