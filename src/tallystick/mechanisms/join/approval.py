"""Approval of the terms: the built-in first stage of every task."""

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

__all__ = ["JoinApproval"]


@register
@dataclass(frozen=True, slots=True)
class JoinApproval:
    """A member approves by sealing and revealing an artefact whose root is the task's id.

    The stage is sealed, so every approval brings a salt, and the salts seed the beacon: nobody can
    choose a task file that makes the first draw come out well.
    """

    id: ClassVar[str] = "join/approval/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Artefact]] = Artefact
    refs: ClassVar[tuple[str, ...]] = ()

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        approving = sorted(
            (held.author, held.group)
            for held in records
            if isinstance(held.record, Artefact) and held.record.root == inputs.key.task
        )
        return Output(
            tuple(Subject(member_subject(author), author, group) for author, group in approving)
        )

    def check_record(self, record: Artefact, key: Key) -> bool:
        """Whether a record is an approval: of these terms, and without bytes."""
        return record == Artefact(key.task, 0)

    def act(self, inputs: Inputs, desk: Desk) -> Artefact:
        """See `LocalRule.act`."""
        del desk
        return Artefact(inputs.key.task, 0)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
