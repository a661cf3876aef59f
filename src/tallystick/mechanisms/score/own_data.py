"""Committee members try every update on data of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.records import Opinion, Output
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place
from tallystick.mechanisms.scoring import is_vector_of_scores, list_scores

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Desk, Held, Inputs

__all__ = ["ScoreOwnData"]


@register
@dataclass(frozen=True, slots=True)
class ScoreOwnData:
    """Each scorer gives the base model, then each update applied to it, 0 to 10,000 points.

    A vector begins with the base model's score and follows the screened list; there is a hole where
    an update was refused before, is the scorer's own, or made its trainer fail. The output repeats
    the screened list, each row extended by one column per scorer in the scorers' order (-1 for a
    hole), after a row of verdict *base* for the base model.

    Notes
    -----
    Never reproducible: it rests on private data. A scorer who lies is only outvoted.

    References
    ----------
    BFLC: Li et al., IEEE Network 2021 (accuracy on the committee's own data, median over members).
    """

    id: ClassVar[str] = "score/own-data/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Opinion]] = Opinion
    refs: ClassVar[tuple[str, ...]] = ()

    def check_vector(self, vector: tuple[int | None, ...], inputs: Inputs) -> bool:
        """Whether a vector fits the list: its length, its range, holes only where allowed."""
        return is_vector_of_scores(vector, inputs)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        return list_scores(records, inputs)

    def act(self, inputs: Inputs, desk: Desk) -> Opinion:
        """See `LocalRule.act`."""
        scores: list[int | None] = [desk.evaluate(inputs, inputs.parent)]
        for subject in inputs.subjects:
            own = subject.author == desk.member
            skip = own or not subject.live
            scores.append(None if skip else desk.evaluate(inputs, inputs.parent, subject.id))
        return Opinion(inputs.of[0].root, tuple(scores))

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
