"""Krum: the one update whose nearest neighbours are nearest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

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
from tallystick.tensors.geometry import nearest, squared_distances

__all__ = ["Krum", "krum_ranking"]


@register
@dataclass(frozen=True, slots=True)
class Krum(ModelRule):
    """Take the update with the smallest sum of squared distances to its n - f - 2 nearest others.

    A majority of honest updates lies close together; an update that is close to that many others
    cannot be far from it. All but one update's work is thrown away.

    Parameters
    ----------
    f
        How many updates may be arbitrary; -1 for as many as are less than a third of those there.

    Notes
    -----
    Void "not-enough-updates" below ``2f + 3`` updates: with fewer, liars may be a majority of the
    neighbours that count. Distances are exact; ties go by id, author and group. Nothing is rounded.
    Weights are ignored. O(n² d) time in float64 BLAS, one chunk of memory. Tolerates `f` arbitrary
    updates.

    References
    ----------
    Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017. arXiv:1703.02757.
    """

    id: ClassVar[str] = "aggregate/krum/1"

    f: int = A_THIRD

    def __post_init__(self) -> None:
        """Refuse a negative tolerance."""
        check_tolerance(self.f)

    def weigh(
        self,
        geometry: Geometry,
        counts: tuple[int, ...],  # noqa: ARG002 - all count the same
    ) -> Weights:
        """See `Aggregation.weigh`: one counts."""
        chosen = krum_ranking(geometry, self.f)[0]
        factors = tuple(int(at == chosen) for at in range(len(geometry.largest)))
        return Weights(factors, 1, geometry.bound)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(f=0), cls()]


def krum_ranking(geometry: Geometry, f: int) -> list[int]:
    """Return the places of all updates by their Krum scores, the best first.

    Raises
    ------
    NotEnoughUpdatesError
        There are fewer than ``2f + 3``.

    Examples
    --------
    >>> squared_distances([[1, 3], [3, 9]])
    [[0, 4], [4, 0]]
    """
    distances = squared_distances(geometry.gram)
    count = len(distances)
    f = tolerated(f, count)
    if count < 2 * f + 3:
        raise NotEnoughUpdatesError(2 * f + 3, count)
    others = [[*line[:at], *line[at + 1 :]] for at, line in enumerate(distances)]
    scores = [sum(sorted(line)[: count - f - 2]) for line in others]
    return nearest(scores, count)
