"""The mean of updates shortened to the median length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import (
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
from tallystick.tensors.arithmetic import mean_rows

__all__ = ["ClippedMean"]


@register
@dataclass(frozen=True, slots=True)
class ClippedMean:
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
    >>> weights = Weights(scales=(1 << 16, 1 << 15), counts=(1, 1), bound=8)
    >>> ClippedMean().combine(np.array([[2, 4], [8, 8]], np.int32), weights).tolist()
    [3, 4]
    """

    id: ClassVar[str] = "aggregate/clipped-mean/1"
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
        return mean_rows(rows, weights.products, weights.divisor, weights.bound)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:  # noqa: ARG002 - attested
        """See `Rule.fold`."""
        return fold_model(self, inputs)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
