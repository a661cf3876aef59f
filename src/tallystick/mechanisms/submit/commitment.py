"""Members commit to something they will be held to later: rows, labels, a hold-out set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.records import Artefact, Output
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place
from tallystick.mechanisms.submissions import list_artefacts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Desk, Held, Inputs

__all__ = ["SubmitCommitment"]


@register
@dataclass(frozen=True, slots=True)
class SubmitCommitment:
    """Each member asked commits to bytes by their root; the artefact's weight counts rows.

    Where the terms' weights are ``committed``, a setup stage named ``commitment`` fixes how much
    each author's updates weigh before anything is trained.
    """

    id: ClassVar[str] = "submit/commitment/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Artefact]] = Artefact
    refs: ClassVar[tuple[str, ...]] = ()

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        return Output(list_artefacts(records, inputs))

    def act(self, inputs: Inputs, desk: Desk) -> Artefact:
        """See `LocalRule.act`."""
        return desk.commit(inputs)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
