"""Somebody pays in what the task will pay out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.draws import member_subject
from tallystick.mechanisms.records import Artefact, Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.records import Key
    from tallystick.mechanisms.rule import Desk, Held, Inputs

__all__ = ["JoinEscrow"]


@register
@dataclass(frozen=True, slots=True)
class JoinEscrow:
    """Each member asked moves ``escrow`` into the task's escrow with its record.

    What is left when the task ends goes back in the proportion it was paid in.

    Parameters
    ----------
    escrow
        Micro-units each pays in. At least 0.
    """

    id: ClassVar[str] = "join/escrow/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Artefact]] = Artefact
    refs: ClassVar[tuple[str, ...]] = ()

    escrow: int = 0

    def __post_init__(self) -> None:
        """Refuse a negative amount."""
        if not 0 <= self.escrow < 2**62:
            msg = f"escrow = {self.escrow}: an amount of micro-units, 0 or more"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del inputs
        paid = sorted((held.author, held.group) for held in records)
        return Output(
            tuple(
                Subject(member_subject(author), author, group, columns=(self.escrow,))
                for author, group in paid
            )
        )

    def check_record(self, record: Artefact, key: Key) -> bool:
        """Whether a record pays in: for this task, and without bytes."""
        return record == Artefact(key.task, 0)

    def act(self, inputs: Inputs, desk: Desk) -> Artefact:
        """See `LocalRule.act`."""
        del desk
        return Artefact(inputs.key.task, 0)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(escrow=0), cls(escrow=1_000_000)]
