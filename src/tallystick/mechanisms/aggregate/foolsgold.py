"""FoolsGold: members whose updates keep resembling another's count less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.mechanisms.aggregation import Geometry, Weights, beside_of
from tallystick.mechanisms.records import Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Inputs
from tallystick.mechanisms.weighing import WHOLE, ModelRule
from tallystick.tensors.arithmetic import PPM, cosine_ppm
from tallystick.tensors.geometry import mixed_products, shares_of

__all__ = ["FoolsGold", "foolsgold_trust"]


HISTORY = ("before_1", "before_2", "before_3")
GUARD_BITS = 40
TERMS = 12
HALF = PPM // 2


@register
@dataclass(frozen=True, slots=True)
class FoolsGold(ModelRule):
    """Average the updates, each weighed by how little its author's history resembles another's.

    Many identities of one attacker pull one way; honest members differ. A history is the sum of the
    author's updates of this round and of the completed rounds behind the references ``before_1``,
    ``before_2`` and ``before_3`` (such as ``decide@-1``), as far as the terms name them.

    Notes
    -----
    Of each history the largest cosine to another is taken, at least 0. A cosine to somebody more
    alike to others than oneself shrinks by the ratio of the two (pardoning). Trust t is 1 less the
    largest cosine left, over the largest trust; its weight ``1/2 + ln(t / (1 - t))``, held between
    0 and 1. Cosines are in parts per million, rounded up; everything after rounds down. Shares are
    floors of 2^-30, the mean rounds to the nearest integer, ties up. Void "no-weight" when nobody
    has trust, which is what members see who all agree. Terms' weights are ignored. O(n² d) time in
    float64 BLAS over the rows of all rounds named, one chunk of memory. Tolerates any number of
    identities that send alike; neither one attacker alone nor many who differ.

    References
    ----------
    Fung, Yoon, Beschastnikh, RAID 2020. arXiv:1808.04866. There histories go back to the beginning
    and may be weighed by the importance of features; a window of rounds, and the division by the
    sum of the weights, are our definition.
    """

    id: ClassVar[str] = "aggregate/foolsgold/1"
    refs: ClassVar[tuple[str, ...]] = HISTORY

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count by their history
    ) -> Weights:
        """See `Aggregation.weigh`."""
        n = len(geometry.updates)
        histories = [
            [
                *(int(at == own) for at in range(n)),
                *(int(each.author == update.author) for each in geometry.beside),
            ]
            for own, update in enumerate(geometry.updates)
        ]
        products = mixed_products(geometry.gram, histories)
        trust = foolsgold_trust(
            [
                [cosine_ppm(product, line[a], products[b][b]) for b, product in enumerate(line)]
                for a, line in enumerate(products)
            ]
        )
        whole = sum(trust)
        shares = shares_of(trust, whole) if whole else (0,) * n
        factors = (*shares, *(0,) * len(geometry.beside))
        return Weights(factors, WHOLE if whole else 0, geometry.bound)

    def beside(self, inputs: Inputs) -> tuple[Subject, ...]:
        """See `ModelRule.beside`."""
        return _history(inputs)


def foolsgold_trust(cosines: list[list[int]]) -> list[int]:
    """Return each member's weight, 0 to 10^6, from the cosines of histories in parts per million.

    Examples
    --------
    >>> foolsgold_trust([[10**6, 10**6, 0], [10**6, 10**6, 0], [0, 0, 10**6]])
    [0, 0, 1000000]
    """
    pairs = [[*line[:at], *line[at + 1 :]] for at, line in enumerate(cosines)]
    alike = [max([0, *line]) for line in pairs]
    others = [[*alike[:at], *alike[at + 1 :]] for at in range(len(alike))]
    trust: list[int] = []
    for own, line, theirs in zip(alike, pairs, others, strict=True):
        pardoned = (
            cosine * own // other if other > own else cosine
            for cosine, other in zip(line, theirs, strict=True)
        )
        trust.append(max(0, PPM - max([0, *pardoned])))
    best = max(trust)
    return [_logit(each * PPM // best) if best else 0 for each in trust]


def _logit(trust: int) -> int:
    """Return ``1/2 + ln(t / (1 - t))`` held between 0 and 1, in parts per million."""
    offset = 2 * trust - PPM  # ln(t / (1 - t)) = 2 artanh(2t - 1), which leaves 1/2 before 1/4
    if abs(offset) >= PPM // 4:
        return PPM if offset > 0 else 0
    power = (offset << GUARD_BITS) // PPM
    square = power * power >> GUARD_BITS
    total = 0
    for term in range(TERMS):
        total += power // (2 * term + 1)
        power = power * square >> GUARD_BITS
    return min(PPM, max(0, HALF + (2 * total * PPM >> GUARD_BITS)))


def _history(inputs: Inputs) -> tuple[Subject, ...]:
    """Return earlier updates of whoever has one now."""
    authors = {subject.author for subject in inputs.of[0].live}
    return tuple(
        subject
        for name in HISTORY
        for subject in beside_of(inputs, name)
        if subject.author in authors
    )
