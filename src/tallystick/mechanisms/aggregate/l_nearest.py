"""The mean of the l updates that point most nearly the way of a reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import (
    Geometry,
    NotEnoughUpdatesError,
    Row,
    Rows,
    Weights,
    bench_of,
)
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import (
    A_THIRD,
    SCALE_BITS,
    UNIT,
    ModelRule,
    check_tolerance,
    equal_scales,
    scaled_bound,
    tolerated,
)
from tallystick.tensors.arithmetic import scale_rows
from tallystick.tensors.order import median_rows

__all__ = ["LNearest", "LNearestAsPublished"]

REFERENCES = ("sum", "median")


@register
@dataclass(frozen=True, slots=True)
class LNearest(ModelRule):
    """Bring all updates to one length, and average the `l` closest in angle to a reference.

    As published, the reference is the sum of what came in, so that one update long enough decides
    what is near; of equal lengths each has one voice in it.

    Parameters
    ----------
    l
        How many are averaged, at most ``n - f``; 0 for ``n - f``.
    f
        How many updates may be arbitrary; -1 for as many as are less than a third of those there.
    reference
        ``sum``, or ``median`` for the coordinate median.
    equal_norms
        Whether updates are first brought to the median length over the stage ``clip_over`` (or over
        themselves), as by ``equal-norm``.

    Notes
    -----
    Void "not-enough-updates" when `l` is above ``n - f``. Cosines are compared exactly, that of an
    update of length zero being 0; ties go by id, author and group. Scales are floors of 2^-16; in
    the median a scaled value rounds to the nearest integer, ties up, and of an even number it is
    the floor of the average of the middle two; the mean rounds to the nearest integer, ties up.
    Weights are ignored. O(n² d) time in float64 BLAS, one chunk of memory. Tolerates fewer than
    half arbitrary updates whose directions differ from the honest ones'; it blunts the others.

    References
    ----------
    Our repair of LearningChain (Chen, Ji, Luo, Liao, Li, IEEE Big Data 2018).
    """

    id: ClassVar[str] = "aggregate/l-nearest/1"
    refs: ClassVar[tuple[str, ...]] = ("clip_over",)

    l: int = 0  # noqa: E741 - the paper's letter
    f: int = A_THIRD
    reference: str = "sum"
    equal_norms: bool = True

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        check_tolerance(self.f)
        if self.l < 0:
            msg = f"l is at least 0, not {self.l}"
            raise ValueError(msg)
        if self.reference not in REFERENCES:
            msg = f"reference is {' or '.join(REFERENCES)}, not {self.reference}"
            raise ValueError(msg)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count the same
    ) -> Weights:
        """See `Aggregation.weigh`."""
        count = len(geometry.updates)
        most = count - tolerated(self.f, count)
        chosen = self.l or most
        if not 0 < chosen <= most:
            raise NotEnoughUpdatesError(max(chosen, 1) + count - most, count)
        scales = equal_scales(geometry) if self.equal_norms else (UNIT,) * count
        if self.reference == "sum":
            along = _along_sum(geometry, scales)
        else:
            along = _along_median(geometry, scales)
        return _nearest(geometry, along, scales, chosen)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(f=1), cls(l=1, f=0, reference="median"), cls(equal_norms=False)]


@register
@dataclass(frozen=True, slots=True)
class LNearestAsPublished(ModelRule):
    """Average the `l` updates closest in angle to the sum of all, whatever their lengths.

    It fails where its paper is wrong: one update of twenty, long enough, defines what is near. Use
    ``aggregate/l-nearest/1``.

    Parameters
    ----------
    l
        How many are averaged; all where there are fewer. At least 1.

    Notes
    -----
    Cosines are compared exactly, that of an update of length zero being 0; ties go by id, author
    and group. The mean rounds to the nearest integer, ties up. Weights are ignored. O(n² d) time in
    float64 BLAS, one chunk of memory. Tolerates nobody.

    References
    ----------
    Chen, Ji, Luo, Liao, Li, "When machine learning meets blockchain", IEEE Big Data 2018, known to
    us from descriptions: cosine distance to the sum is recalled, the mean in place of a learning
    rate times the sum is our definition.
    """

    id: ClassVar[str] = "aggregate/l-nearest-as-published/1"

    l: int = 10  # noqa: E741 - the paper's letter

    def __post_init__(self) -> None:
        """Refuse to average nothing."""
        if self.l < 1:
            msg = f"l is at least 1, not {self.l}"
            raise ValueError(msg)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count the same
    ) -> Weights:
        """See `Aggregation.weigh`."""
        scales = (UNIT,) * len(geometry.updates)
        chosen = min(self.l, len(scales))
        return _nearest(geometry, _along_sum(geometry, scales), scales, chosen)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(l=2)]


def _along_sum(geometry: Geometry, scales: Sequence[int]) -> list[int]:
    """Return each update's product with the sum of the scaled updates."""
    return [
        sum(scale * product for scale, product in zip(scales, line, strict=True))
        for line in geometry.gram
    ]


def _along_median(geometry: Geometry, scales: tuple[int, ...]) -> list[int]:
    """Return each update's product with the coordinate median of the scaled updates."""
    bench, model = bench_of(geometry.inputs)
    return list(bench.gram_with(geometry.roots, model, scales, _scaled_median)[-1][:-1])


def _scaled_median(rows: Rows, scales: tuple[int, ...]) -> Row:
    return median_rows(scale_rows(rows, scales, SCALE_BITS))


def _nearest(
    geometry: Geometry, along: Sequence[int], scales: tuple[int, ...], count: int
) -> Weights:
    """Return the weights of the ``count`` updates with the greatest cosine to what is ``along``."""
    squares = [  # cosine times its size, but for a common factor
        Fraction(product * abs(product), squared or 1)
        for product, squared in zip(along, geometry.squared_norms, strict=True)
    ]
    order = sorted(range(len(squares)), key=squares.__getitem__, reverse=True)
    chosen = set(order[:count])
    factors = tuple(scale if at in chosen else 0 for at, scale in enumerate(scales))
    return Weights(factors, UNIT * count, scaled_bound(geometry, scales))
