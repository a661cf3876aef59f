"""The weighted mean: every update counts as declared, agreed or once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import UNIT, Geometry, Row, Rows, Weights, fold_model
from tallystick.mechanisms.records import Attestation, Output
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Held, Inputs, Place
from tallystick.tensors.arithmetic import mean_rows

__all__ = ["Mean"]


@register
@dataclass(frozen=True, slots=True)
class Mean:
    """Average each coordinate.

    Federated averaging with sums that are exact, so that nobody can argue about their order. One
    liar can move it anywhere: screen before it.

    Notes
    -----
    Rounds to the nearest integer, ties up. O(n d) time, one chunk of memory. Tolerates nobody.

    References
    ----------
    McMahan, Moore, Ramage, Hampson, Agüera y Arcas, AISTATS 2017. arXiv:1602.05629.

    Examples
    --------
    >>> import numpy as np
    >>> weights = Weights(scales=(UNIT, UNIT), counts=(1, 3), bound=8)
    >>> Mean().combine(np.array([[0, 4], [8, 5]], np.int32), weights).tolist()
    [6, 5]
    """

    id: ClassVar[str] = "aggregate/mean/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()
    yields_model: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """See `Aggregation.weigh`: nobody is shortened."""
        return Weights((UNIT,) * len(counts), counts, geometry.bound)

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
