"""Members train and submit their updates."""

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

__all__ = ["SubmitUpdate"]


@register
@dataclass(frozen=True, slots=True)
class SubmitUpdate:
    """Each trainer submits one update to the parent model, in the terms' fixed point.

    References
    ----------
    McMahan et al., AISTATS 2017. arXiv:1602.05629.
    """

    id: ClassVar[str] = "submit/update/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Artefact]] = Artefact
    refs: ClassVar[tuple[str, ...]] = ()

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        return Output(list_artefacts(records, inputs))

    def act(self, inputs: Inputs, desk: Desk) -> Artefact:
        """See `LocalRule.act`."""
        return desk.train(inputs)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
