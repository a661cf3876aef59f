"""Everybody on the roster takes part."""

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

__all__ = ["SelectAll"]


@register
@dataclass(frozen=True, slots=True)
class SelectAll:
    """Select every seat of the source roster, groups kept."""

    id: ClassVar[str] = "select/all/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del records
        return Output(
            tuple(
                Subject(member_subject(seat.member), seat.member, seat.group)
                for seat in inputs.roster
            )
        )

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
