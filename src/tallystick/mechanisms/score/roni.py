"""RONI: what the model would be without each update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from tallystick.mechanisms.records import Opinion, Output
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place
from tallystick.mechanisms.scoring import FULL_SCORE, is_vector_of_scores, list_scores

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Desk, Held, Inputs

__all__ = ["ScoreRoni"]


@register
@dataclass(frozen=True, slots=True)
class ScoreRoni:
    """Each scorer tries the mean of all live updates, then the mean without each one.

    An update that is harmless by itself may still harm the others, and the other way round; what
    counts is its influence: the score with it less the score without. A vector holds the score of
    the mean of all, then for each listed update the score without it; there is a hole where an
    update was refused before or is the scorer's own. The output is as of ``score/own-data``, with
    the score of the mean of all in the base's row; an update's column is that score plus its
    influence, held between 0 and 10,000. So ``decide/below-base`` refuses on negative influence
    beyond its margin.

    Notes
    -----
    The mean is that of `mean_rows`, all alike, whatever rule aggregates later; without others it is
    the parent model. Never reproducible: it rests on private data. n + 1 evaluations, each O(n d)
    to prepare. A scorer who lies is only outvoted. The influence of one of many is small: a margin
    of a few basis points, and many rows to score on, are needed.

    References
    ----------
    Reject on negative impact: Nelson et al., LEET 2008, and Barreno, Nelson, Joseph, Tygar, Machine
    Learning 81, 2010, there of training examples. On updates, and within one round, it is our
    definition.
    """

    id: ClassVar[str] = "score/roni/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Opinion]] = Opinion
    refs: ClassVar[tuple[str, ...]] = ()

    def check_vector(self, vector: tuple[int | None, ...], inputs: Inputs) -> bool:
        """Whether a vector fits the list: its length, its range, holes only where allowed."""
        return is_vector_of_scores(vector, inputs)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        return list_scores(records, inputs, _influence)

    def act(self, inputs: Inputs, desk: Desk) -> Opinion:
        """See `LocalRule.act`."""
        live = [subject.id for subject in inputs.live]
        scores: list[int | None] = [desk.evaluate(inputs, inputs.parent, *live)]
        passed = 0
        for subject in inputs.subjects:
            skip = subject.author == desk.member or not subject.live
            without = (*live[:passed], *live[passed + 1 :])
            scores.append(None if skip else desk.evaluate(inputs, inputs.parent, *without))
            passed += subject.live
        return Opinion(inputs.of[0].root, tuple(scores))

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]


def _influence(base: int, without: int) -> int:
    return min(FULL_SCORE, max(0, 2 * base - without))
