"""Authors of accepted updates share the round's purse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.records import Output, Pay
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["SettleAccepted"]


@register
@dataclass(frozen=True, slots=True)
class SettleAccepted:
    """Pay the purse in equal parts to the authors of accepted updates.

    Parameters
    ----------
    purse
        Micro-units a round pays, at most what the escrow holds. At least 0.

    Notes
    -----
    Each part is rounded down; the remainder stays in the escrow. Authors count once.
    """

    id: ClassVar[str] = "settle/accepted/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()
    lists: ClassVar[int] = 8

    purse: int = 0

    def __post_init__(self) -> None:
        """Refuse a negative purse."""
        if self.purse < 0:
            msg = f"purse = {self.purse}: an amount of micro-units, 0 or more"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del records
        authors = sorted({subject.author for subject in inputs.live if subject.author})
        share = min(self.purse, inputs.escrow) // len(authors) if authors else 0
        paid = tuple(Pay(author, share) for author in authors) if share else ()
        return Output(inputs.subjects, paid)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(), cls(purse=10_000_000)]
