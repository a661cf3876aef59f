"""Centred clipping: how far each update may pull away from the last change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import (
    Geometry,
    Weights,
    bench_of,
    median_of,
)
from tallystick.mechanisms.records import Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Inputs
from tallystick.mechanisms.weighing import SCALE_BITS, UNIT, WHOLE, ModelRule
from tallystick.tensors.arithmetic import NORM_GUARD_BITS, norm_of
from tallystick.tensors.geometry import Gram, shares_of, squared_distances_to

__all__ = ["CentredClipping", "clipped_shares"]


@register
@dataclass(frozen=True, slots=True)
class CentredClipping(ModelRule):
    """Average how the updates differ from a centre, each difference shortened to a radius.

    The centre is the last change of the model, named by the reference ``centre`` (as a rule
    ``aggregate@-1``), or nothing before there is one: whoever pulls from where all went before gets
    no further than the radius. With each step the centre moves to the result.

    Parameters
    ----------
    radius
        The length allowed, in steps of the finest exponent; 0 for the median distance to the
        centre, taken anew at each step.
    iterations
        Steps, from 1 to 8.

    Notes
    -----
    The last change is the difference of the two models, in steps as an update has them (TEN-21).
    Distances are exact, their roots rounded down in 2^-32 of a step; a difference is scaled by a
    floor of 2^-16, and a row's share of the result is a floor of 2^-30, what is missing counting
    for zeros. The mean rounds to the nearest integer, ties up. Weights are ignored. O(n² d) time in
    float64 BLAS, one chunk of memory. Tolerates fewer than half arbitrary updates, if radius and
    centre are good.

    References
    ----------
    Karimireddy, He, Jaggi, ICML 2021. arXiv:2012.10333. There members send their own momentum, as
    with ``submit/momentum`` here; the median as radius is our definition.
    """

    id: ClassVar[str] = "aggregate/centred-clipping/1"
    refs: ClassVar[tuple[str, ...]] = ("centre",)

    radius: int = 0
    iterations: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers without meaning."""
        if self.radius < 0:
            msg = f"radius is at least 0, not {self.radius}"
            raise ValueError(msg)
        if not 1 <= self.iterations <= 8:  # noqa: PLR2004 - the documented range
            msg = f"iterations is 1 to 8, not {self.iterations}"
            raise ValueError(msg)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count the same
    ) -> Weights:
        """See `Aggregation.weigh`."""
        shares = clipped_shares(
            geometry.gram, len(geometry.updates), self.radius << NORM_GUARD_BITS, self.iterations
        )
        return Weights(shares, WHOLE, geometry.bound)

    def beside(self, inputs: Inputs) -> tuple[Subject, ...]:
        """See `ModelRule.beside`."""
        return _last_change(inputs)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(), cls(radius=500, iterations=3)]


def clipped_shares(products: Gram, count: int, radius: int, iterations: int) -> tuple[int, ...]:
    """Return each row's share of the result, in 2^-30.

    Parameters
    ----------
    products
        Of the updates and, if there is one, the centre after them.
    count
        How many are updates.
    radius
        As `norm_of` gives it; 0 for the median distance.

    Examples
    --------
    >>> clipped_shares([[4, 4], [4, 16]], 2, 2 << 32, 1)
    (536870912, 268435456)
    """
    whole = 1
    parts = [0] * count + [1] * (len(products) - count)
    for _ in range(iterations):
        squares = squared_distances_to(products, parts, whole)
        lengths = [norm_of(square) for square in squares[:count]]
        limit = radius * whole or median_of(lengths)
        scales = [
            UNIT if length <= limit else (limit << SCALE_BITS) // length for length in lengths
        ]
        left = count * UNIT - sum(scales)
        parts = [left * part for part in parts]
        for at, scale in enumerate(scales):
            parts[at] += scale * whole
        whole *= count * UNIT
    return shares_of(parts, whole)


def _last_change(inputs: Inputs) -> tuple[Subject, ...]:
    """Return the last change of the model as an update, or nothing where there is none."""
    found = inputs.refs["centre"].live if "centre" in inputs.refs else ()
    if not found or not found[0].parent:
        return ()
    bench, model = bench_of(inputs)
    change = bench.change(found[0].parent, found[0].id, model)
    return () if change is None else (Subject(change[0], "", columns=(change[1],)),)
