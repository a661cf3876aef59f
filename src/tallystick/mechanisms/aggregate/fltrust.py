"""FLTrust: updates count by how far they point the way of a trusted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.mechanisms.aggregation import (
    Geometry,
    NotEnoughUpdatesError,
    Weights,
    beside_of,
)
from tallystick.mechanisms.records import Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Inputs
from tallystick.mechanisms.weighing import SCALE_BITS, WHOLE, ModelRule, equal_scales
from tallystick.tensors.arithmetic import cosine_ppm, norm_of
from tallystick.tensors.geometry import shares_of

__all__ = ["FLTrust"]


@register
@dataclass(frozen=True, slots=True)
class FLTrust(ModelRule):
    """Average updates of the root update's length, weighed by their cosine to it, if positive.

    The root update is that of members whom everybody trusts with a small clean data set: the
    reference ``root`` names the stage that lists it (``submit/update`` with its own roster, or a
    screen of it); of several it is their mean. It counts as a measure only.

    Notes
    -----
    Void "not-enough-updates" without a root update, "no-weight" when nobody points its way. Cosines
    are in parts per million, rounded up; scales are floors of 2^-16, no larger than keeps values
    within 32 bits; shares are floors of 2^-30, the mean rounds to the nearest integer, ties up.
    Weights are ignored. O(n² d) time in float64 BLAS, one chunk of memory. Tolerates any number of
    arbitrary updates, as far as the root is good.

    References
    ----------
    Cao, Fang, Liu, Gong, NDSS 2021. arXiv:2012.13995. There the server has the root data.
    """

    id: ClassVar[str] = "aggregate/fltrust/1"
    refs: ClassVar[tuple[str, ...]] = ("root",)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count by their direction
    ) -> Weights:
        """See `Aggregation.weigh`."""
        n, roots = len(geometry.updates), len(geometry.beside)
        if not roots:
            raise NotEnoughUpdatesError(1, 0)
        products = geometry.gram
        squared = sum(sum(line[n:]) for line in products[n:])  # of the sum of the roots
        trust = [
            max(0, cosine_ppm(sum(line[n:]), line[at], squared))
            for at, line in enumerate(products[:n])
        ]
        scales = equal_scales(geometry, norm_of(squared) // roots)[:n]
        whole = sum(trust) << SCALE_BITS
        if not whole:
            return Weights((0,) * (n + roots), 0, 0)
        parts = [each * scale for each, scale in zip(trust, scales, strict=True)]
        shares = shares_of(parts, whole)
        reach = sum(share * each for share, each in zip(shares, geometry.largest, strict=False))
        return Weights((*shares, *(0,) * roots), WHOLE, reach // WHOLE + 1)

    def beside(self, inputs: Inputs) -> tuple[Subject, ...]:
        """See `ModelRule.beside`."""
        return beside_of(inputs, "root")
