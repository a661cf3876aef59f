"""Co-signing of the result: the built-in last stage of every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.draws import member_subject
from tallystick.mechanisms.records import Attestation, Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["JoinCosign"]


@register
@dataclass(frozen=True, slots=True)
class JoinCosign:
    """Members sign the task's final model root and log root; nobody waits for the silent.

    The ledger checks each signature when it arrives, since what is signed is known beforehand.
    """

    id: ClassVar[str] = "join/cosign/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del inputs
        signed = sorted((held.author, held.group) for held in records)
        return Output(
            tuple(Subject(member_subject(author), author, group) for author, group in signed)
        )

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
