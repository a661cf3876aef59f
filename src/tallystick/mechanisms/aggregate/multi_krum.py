"""Multi-Krum: the mean of the updates whose nearest neighbours are nearest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregate.krum import krum_ranking
from tallystick.mechanisms.aggregation import (
    Geometry,
    NotEnoughUpdatesError,
    Weights,
)
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.weighing import (
    A_THIRD,
    ModelRule,
    check_tolerance,
    tolerated,
)

__all__ = ["MultiKrum"]


@register
@dataclass(frozen=True, slots=True)
class MultiKrum(ModelRule):
    """Average the `m` updates with the best scores, as `Krum` scores.

    Parameters
    ----------
    f
        How many updates may be arbitrary; -1 for as many as are less than a third of those there.
    m
        How many updates are averaged, at most ``n - f``; 0 for ``n - f - 2``.

    Notes
    -----
    Void "not-enough-updates" below ``2f + 3`` and below ``m + f`` updates. Distances are exact;
    ties go by id, author and group. The mean rounds to the nearest integer, ties up. Weights are
    ignored. O(n² d) time in float64 BLAS, one chunk of memory. Tolerates `f` arbitrary updates.

    References
    ----------
    Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017. arXiv:1703.02757. The default of `m` is
    our choice.
    """

    id: ClassVar[str] = "aggregate/multi-krum/1"

    f: int = A_THIRD
    m: int = 0

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        check_tolerance(self.f)
        if self.m < 0:
            msg = f"m is at least 0, not {self.m}"
            raise ValueError(msg)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count the same
    ) -> Weights:
        """See `Aggregation.weigh`: the best count alike."""
        ranking = krum_ranking(geometry, self.f)
        f = tolerated(self.f, len(ranking))
        m = self.m or len(ranking) - f - 2
        if m > len(ranking) - f:
            raise NotEnoughUpdatesError(m + f, len(ranking))
        chosen = set(ranking[:m])
        factors = tuple(int(at in chosen) for at in range(len(ranking)))
        return Weights(factors, m, geometry.bound)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(f=0), cls(f=0, m=3), cls()]
