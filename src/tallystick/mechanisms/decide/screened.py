"""What the screens left is accepted, if enough of it is left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.records import Output
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["DecideScreened"]


@register
@dataclass(frozen=True, slots=True)
class DecideScreened:
    """Repeat the list, or void the round when fewer than ``cohort`` subjects are live.

    Parameters
    ----------
    cohort
        Fewest live subjects a round goes on with; 0 accepts an empty round, whose model is the
        parent's. A private sum needs at least three, or it would show single members.
    """

    id: ClassVar[str] = "decide/screened/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()
    lists: ClassVar[int] = 8

    cohort: int = 0

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del records
        if len(inputs.live) < self.cohort:
            return Output(inputs.subjects, void="cohort-too-small")
        return Output(inputs.subjects)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(), cls(cohort=3)]
