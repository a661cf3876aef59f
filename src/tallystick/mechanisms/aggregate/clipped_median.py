"""The coordinate median of updates shortened to the median length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import (
    SCALE_BITS,
    Geometry,
    Row,
    Rows,
    Weights,
    clipped_weights,
    fold_model,
)
from tallystick.mechanisms.records import Attestation, Output
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Held, Inputs, Place
from tallystick.tensors.arithmetic import scale_rows
from tallystick.tensors.median import median_rows

__all__ = ["ClippedMedian"]


@register
@dataclass(frozen=True, slots=True)
class ClippedMedian:
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
    >>> weights = Weights(scales=(1 << 16, 1 << 16, 1 << 15), counts=(1, 1, 1), bound=900)
    >>> ClippedMedian().combine(np.array([[1], [500], [900]], np.int32), weights).tolist()
    [450]
    """

    id: ClassVar[str] = "aggregate/clipped-median/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ("clip_over",)
    yields_model: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """See `Aggregation.weigh`."""
        return clipped_weights(geometry, counts)

    def combine(self, rows: Rows, weights: Weights) -> Row:
        """See `Aggregation.combine`."""
        return median_rows(scale_rows(rows, weights.scales, SCALE_BITS))

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:  # noqa: ARG002 - attested
        """See `Rule.fold`."""
        return fold_model(self, inputs)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
