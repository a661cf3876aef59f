"""Places in a round, drawn by the task's beacon."""

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

__all__ = ["SelectLottery"]


@register
@dataclass(frozen=True, slots=True)
class SelectLottery:
    """Draw exactly ``seats`` of the source roster, or void the round if there are too few.

    Unlike a committee the number may be even, and all seats must be filled: a contest with an
    empty lane is another contest.

    Parameters
    ----------
    seats
        Places to fill. At least 1.
    """

    id: ClassVar[str] = "select/lottery/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()

    seats: int = 8

    def __post_init__(self) -> None:
        """Refuse a draw of nobody."""
        if self.seats < 1:
            msg = f"seats = {self.seats}: a draw fills at least one"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del records
        drawn = draw_seats(inputs, self.seats)
        if len(drawn) < self.seats:
            return Output(void="too-few-to-draw-from")
        return Output(
            tuple(
                Subject(member_subject(seat.member), seat.member, seat.group)
                for seat in sorted(drawn)
            )
        )

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(seats=1), cls(seats=2)]
