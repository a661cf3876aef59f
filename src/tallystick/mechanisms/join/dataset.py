"""Members name the data set that their updates will be charged to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.records import Artefact, Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.records import Key
    from tallystick.mechanisms.rule import Desk, Held, Inputs

__all__ = ["JoinDataset"]


@register
@dataclass(frozen=True, slots=True)
class JoinDataset:
    """Each member asked names one data set of its own that has a budget.

    The ledger takes the record only if its root is registered by the sender and has a budget.
    Stages that cost privacy refer to this one as ``data``; whoever named nothing cannot take part
    in them. Who named one is on the roster the stage writes.
    """

    id: ClassVar[str] = "join/dataset/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Artefact]] = Artefact
    refs: ClassVar[tuple[str, ...]] = ()
    enrols: ClassVar[bool] = True

    def check_record(self, record: Artefact, key: Key) -> bool:
        """Whether the record is nothing but a root."""
        del key
        return record == Artefact(record.root, 0)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del inputs
        named = sorted(
            (held.record.root, held.author, held.group)
            for held in records
            if isinstance(held.record, Artefact)
        )
        return Output(tuple(Subject(*each) for each in named))

    def act(self, inputs: Inputs, desk: Desk) -> Artefact:
        """See `LocalRule.act`."""
        del inputs
        return desk.enrol()

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
