"""The coordinate median: the middle value of each parameter, whoever sent it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import UNIT, Geometry, Row, Rows, Weights, fold_model
from tallystick.mechanisms.records import Attestation, Output
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Held, Inputs, Place
from tallystick.tensors.median import median_rows

__all__ = ["Median"]


@register
@dataclass(frozen=True, slots=True)
class Median:
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
    >>> weights = Weights(scales=(UNIT,) * 3, counts=(1, 1, 1), bound=900)
    >>> Median().combine(np.array([[1], [3], [900]], np.int32), weights).tolist()
    [3]
    """

    id: ClassVar[str] = "aggregate/median/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()
    yields_model: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """See `Aggregation.weigh`: nobody is shortened."""
        return Weights((UNIT,) * len(counts), counts, geometry.bound)

    def combine(self, rows: Rows, weights: Weights) -> Row:  # noqa: ARG002 - all count the same
        """See `Aggregation.combine`."""
        return median_rows(rows)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:  # noqa: ARG002 - attested
        """See `Rule.fold`."""
        return fold_model(self, inputs)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
