"""Everything that passed the screens is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.records import Output
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["DecideAll"]


@register
@dataclass(frozen=True, slots=True)
class DecideAll:
    """Repeat the list: whoever was refused stays refused, everybody else is in."""

    id: ClassVar[str] = "decide/all/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()
    lists: ClassVar[int] = 8

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del records
        return Output(inputs.subjects)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
