"""Members train and submit updates that are clipped and covered by Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.registry import register
from tallystick.mechanisms.submissions import PrivateSubmission
from tallystick.mechanisms.theory.calibration import conversion_table
from tallystick.mechanisms.theory.noise import Gaussian
from tallystick.mechanisms.theory.protection import SENSITIVITIES, Protection, check_terms
from tallystick.mechanisms.theory.rdp import Charge, gaussian

if TYPE_CHECKING:
    from collections.abc import Iterable


__all__ = ["SubmitPrivateUpdate"]

MOST_NOISE_MILLIS = 10**9


@register
@dataclass(frozen=True, slots=True)
class SubmitPrivateUpdate(PrivateSubmission):
    """Each trainer submits one update, clipped and covered by Gaussian noise on its own side.

    Taking a record, or the seal over it, charges `charge` to the budget of the data set that its
    author named in the stage behind ``data``. Whether noise was added at all nobody else can see:
    what is enforced is the noise the terms declare.

    Parameters
    ----------
    clipping_norm_micros
        The longest a contribution may be, in millionths of the parameters' unit. At least 1.
    noise_multiplier_millis
        The noise's standard deviation, in thousandths of the clipping norm. 1 to 10^9. With unit
        ``row`` it is the noise on the sum of the contributions.
    delta_picos, table
        The delta that epsilon is stated for, and what turns costs into it; see
        `tallystick.mechanisms.theory.calibration.conversion_table`.
    unit
        ``row``: the trainer's ``contributions`` are clipped one by one, and epsilon protects a row.
        ``update``: any trainer's update is clipped as a whole, and epsilon protects all its rows.
    adjacency
        ``zero-out`` or ``replace-one``; see `tallystick.mechanisms.theory.protection`.

    Notes
    -----
    Sensitivity, rounding included: one clipping norm under ``zero-out``, two under ``replace-one``.

    References
    ----------
    Abadi et al., CCS 2016. arXiv:1607.00133. McMahan et al., ICLR 2018. arXiv:1710.06963.
    """

    id: ClassVar[str] = "submit/private-update/1"

    clipping_norm_micros: int
    noise_multiplier_millis: int
    delta_picos: int
    table: tuple[int, ...]
    unit: str = "row"
    adjacency: str = "zero-out"

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        check_terms(
            self.unit, self.adjacency, self.clipping_norm_micros, self.delta_picos, self.table
        )
        if not 1 <= self.noise_multiplier_millis <= MOST_NOISE_MILLIS:
            msg = f"noise_multiplier_millis is 1 to 10^9, not {self.noise_multiplier_millis}"
            raise ValueError(msg)

    @property
    def charge(self) -> Charge:
        """What a record costs its author's data set."""
        cost = gaussian(self.noise_multiplier_millis, SENSITIVITIES[self.adjacency])
        return Charge(cost, self.delta_picos, self.table)

    @property
    def protection(self) -> Protection:
        """What happens on the member's side."""
        law = Gaussian(self.noise_multiplier_millis / 1000)
        return Protection(self.unit, self.clipping_norm_micros, law)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        table = conversion_table(10**8)
        return [
            cls(500_000, 4_507, 10**8, table),
            cls(500_000, 9_014, 10**8, table, "update", "replace-one"),
        ]
