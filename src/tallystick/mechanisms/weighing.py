"""What aggregation rules share: their base, how many liars they allow for, rows of one length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import (
    Geometry,
    NotEnoughUpdatesError,
    Row,
    Rows,
    Weights,
    fold_model,
    median_of,
)
from tallystick.mechanisms.records import Attestation, Output, Subject
from tallystick.mechanisms.rule import Held, Inputs, Place
from tallystick.tensors.arithmetic import mean_rows, norm_of
from tallystick.tensors.geometry import SHARE_BITS

__all__ = [
    "A_THIRD",
    "SCALE_BITS",
    "UNIT",
    "WHOLE",
    "ModelRule",
    "check_tolerance",
    "clipping_scales",
    "combine_mean",
    "equal_scales",
    "equal_weights",
    "scaled_bound",
    "tolerated",
]

SCALE_BITS = 16
UNIT = 1 << SCALE_BITS
WHOLE = 1 << SHARE_BITS
A_THIRD = -1  # as `f`: as many as are less than a third
LARGEST = 2**31 - 1


class ModelRule(ABC):
    """An aggregation rule: it adds its id and how it weighs, and differs where it has to.

    See `tallystick.mechanisms.rule.Rule` and `tallystick.mechanisms.aggregation.Aggregation`.
    """

    __slots__ = ()

    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()
    yields_model: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True

    @abstractmethod
    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """See `Aggregation.weigh`."""

    def combine(self, rows: Rows, weights: Weights) -> Row:
        """See `Aggregation.combine`: the rounded weighted mean."""
        return combine_mean(rows, weights)

    def beside(self, inputs: Inputs) -> tuple[Subject, ...]:  # noqa: ARG002 - for rules to use
        """Return further rows for the rule, whose shape has been checked."""
        return ()

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:  # noqa: ARG002 - attested
        """See `Rule.fold`."""
        return fold_model(self, inputs, self.beside(inputs))

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]


def check_tolerance(f: int) -> None:
    """Refuse an ``f`` that is neither a number nor `A_THIRD`; for a rule's ``__post_init__``.

    Raises
    ------
    ValueError
        It is below -1.
    """
    if f < A_THIRD:
        msg = f"f is at least 0, or {A_THIRD} for as many as are less than a third, not {f}"
        raise ValueError(msg)


def tolerated(f: int, count: int) -> int:
    """Return how many of ``count`` updates may be arbitrary: ``f``, or (count - 1) // 3 for -1."""
    return (count - 1) // 3 if f == A_THIRD else f


def equal_weights(geometry: Geometry, f: int) -> Weights:
    """Return weights under which every row counts alike, and honest ones are more than half.

    Raises
    ------
    NotEnoughUpdatesError
        There are fewer than ``2f + 1``.
    """
    count = len(geometry.largest)
    needed = 2 * tolerated(f, count) + 1
    if count < needed:
        raise NotEnoughUpdatesError(needed, count)
    return Weights((1,) * count, count, geometry.bound)


def clipping_scales(geometry: Geometry) -> tuple[int, ...]:
    """Return what shortens every row to the median length at most, in units of 2^-16.

    The scale is ``floor(2^16 · median / length)``, at most 2^16, lengths as `norm_of` rounds them,
    the median as `median_of` does.
    """
    limit = median_of([norm_of(squared) for squared in geometry.squared_norms_over])
    lengths = [norm_of(squared) for squared in geometry.squared_norms]
    return tuple(UNIT if length <= limit else (limit << SCALE_BITS) // length for length in lengths)


def equal_scales(geometry: Geometry, length: int | None = None) -> tuple[int, ...]:
    """Return what brings every row to one length, in units of 2^-16.

    The scale is ``floor(2^16 · length / the row's length)``, but no more than keeps its values
    within 32 bits, ``floor(2^16 · (2^31 - 1) / largest)``; 2^16 for a row without length.

    Parameters
    ----------
    length
        As `norm_of` gives it; the median over all that a common length is taken over if not given.
    """
    if length is None:
        length = median_of([norm_of(squared) for squared in geometry.squared_norms_over])
    return tuple(
        min((length << SCALE_BITS) // own, (LARGEST << SCALE_BITS) // largest) if own else UNIT
        for own, largest in zip(map(norm_of, geometry.squared_norms), geometry.largest, strict=True)
    )


def scaled_bound(geometry: Geometry, scales: tuple[int, ...]) -> int:
    """Return a limit of the absolute values in rows that are scaled by units of 2^-16."""
    reach = (scale * each for scale, each in zip(scales, geometry.largest, strict=True))
    return (max(reach) >> SCALE_BITS) + 1


def combine_mean(rows: Rows, weights: Weights) -> Row:
    """Return the rounded weighted mean: the combiner of every rule that only weighs."""
    return mean_rows(rows, weights.factors, weights.divisor, weights.bound)
