"""A committee drawn by the task's beacon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.draws import draw_seats, member_subject
from tallystick.mechanisms.records import Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["SelectBeacon"]


@register
@dataclass(frozen=True, slots=True)
class SelectBeacon:
    """Draw an odd number of seats from the source roster.

    The number is odd so that the median of the committee's scores is one member's score and never
    the mean of two, which two colluders of four could move.

    Parameters
    ----------
    seats
        Size of the committee, odd. Fewer, still odd, when the roster is smaller.

    Notes
    -----
    Whoever withheld a salt is left out. k withholders choose among at most 2^k draws.

    References
    ----------
    Our repair of the election in BFLC (Li et al., IEEE Network 2021): drawn from everybody at the
    head of each round instead of from the providers of validated updates at its tail.
    """

    id: ClassVar[str] = "select/beacon/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()

    seats: int = 5

    def __post_init__(self) -> None:
        """Refuse an even committee."""
        if self.seats < 1 or self.seats % 2 == 0:
            msg = f"seats = {self.seats}: a committee has an odd number of seats"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del records
        drawn = draw_seats(inputs, self.seats)
        if drawn and len(drawn) % 2 == 0:
            drawn = drawn[:-1]
        return Output(
            tuple(
                Subject(member_subject(seat.member), seat.member, seat.group)
                for seat in sorted(drawn)
            )
        )

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(seats=1), cls(seats=3)]
