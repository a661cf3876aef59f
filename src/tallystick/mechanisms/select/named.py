"""The members the terms name, as far as they are on the roster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.draws import member_subject
from tallystick.mechanisms.records import Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["SelectNamed"]


@register
@dataclass(frozen=True, slots=True)
class SelectNamed:
    """Select the named members of the source roster.

    Parameters
    ----------
    names
        Members to select; the whole source roster when empty.
    """

    id: ClassVar[str] = "select/named/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()

    names: tuple[str, ...] = ()

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del records
        return Output(
            tuple(
                Subject(member_subject(seat.member), seat.member, seat.group)
                for seat in inputs.roster
                if not self.names or seat.member in self.names
            )
        )

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(), cls(names=("alpha", "charlie"))]
