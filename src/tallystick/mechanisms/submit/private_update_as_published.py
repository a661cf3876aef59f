"""LearningChain's per-iteration noise: pure epsilon for each round, and no budget over rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.registry import register
from tallystick.mechanisms.submissions import PrivateSubmission
from tallystick.mechanisms.theory.calibration import conversion_table
from tallystick.mechanisms.theory.noise import UniformDirection
from tallystick.mechanisms.theory.protection import SENSITIVITIES, Protection, check_terms
from tallystick.mechanisms.theory.rdp import Charge, pure

if TYPE_CHECKING:
    from collections.abc import Iterable


__all__ = ["SubmitPrivateUpdateAsPublished"]

MOST_EPSILON_MILLIS = 10**6
NANOS_IN_MILLI = 10**6


@register
@dataclass(frozen=True, slots=True)
class SubmitPrivateUpdateAsPublished(PrivateSubmission):
    """Each trainer submits one update with noise of density exp(-epsilon |z| / sensitivity).

    The noise is LearningChain's as we know it; what is clipped and what neighbours are is our
    definition, as in ``submit/private-update/1``. The published epsilon is for one iteration: here
    every iteration is charged, so that the total shows.

    Parameters
    ----------
    clipping_norm_micros, delta_picos, table, unit, adjacency
        As in ``submit/private-update/1``.
    epsilon_millis
        Epsilon of one iteration, in thousandths. 1 to 10^6.

    References
    ----------
    Chen, Ji, Luo, Liao, Li, IEEE Big Data 2018; the paper's text was not at hand.
    """

    id: ClassVar[str] = "submit/private-update-as-published/1"

    clipping_norm_micros: int
    epsilon_millis: int
    delta_picos: int
    table: tuple[int, ...]
    unit: str = "row"
    adjacency: str = "zero-out"

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        check_terms(
            self.unit, self.adjacency, self.clipping_norm_micros, self.delta_picos, self.table
        )
        if not 1 <= self.epsilon_millis <= MOST_EPSILON_MILLIS:
            msg = f"epsilon_millis is 1 to 10^6, not {self.epsilon_millis}"
            raise ValueError(msg)

    @property
    def charge(self) -> Charge:
        """What a record costs its author's data set."""
        return Charge(pure(self.epsilon_millis * NANOS_IN_MILLI), self.delta_picos, self.table)

    @property
    def protection(self) -> Protection:
        """What happens on the member's side."""
        scale = SENSITIVITIES[self.adjacency] * 1000 / self.epsilon_millis
        return Protection(self.unit, self.clipping_norm_micros, UniformDirection(scale))

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(500_000, 1_000, 10**8, conversion_table(10**8))]
