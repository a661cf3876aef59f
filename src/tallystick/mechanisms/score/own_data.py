"""Committee members try every update on data of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import msgspec

from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import Opinion, Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Desk, Held, Inputs

__all__ = ["FULL_SCORE", "HOLE", "ScoreOwnData"]

FULL_SCORE = 10_000
HOLE = -1


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
        if len(vector) != 1 + len(inputs.subjects) or vector[0] is None:
            return False
        return all(score is None or 0 <= score <= FULL_SCORE for score in vector)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        opinions = sorted(
            (held.author, held.record.vector)
            for held in records
            if isinstance(held.record, Opinion)
        )
        base = Subject(
            inputs.parent[0] or bytes(32),
            "",
            verdict=reasons.BASE,
            columns=tuple(_column(vector, 0) for _, vector in opinions),
        )
        rows = tuple(
            msgspec.structs.replace(
                subject,
                columns=(
                    *subject.columns,
                    *(
                        HOLE if author == subject.author else _column(vector, index + 1)
                        for author, vector in opinions
                    ),
                ),
            )
            for index, subject in enumerate(inputs.subjects)
        )
        return Output((base, *rows))

    def act(self, inputs: Inputs, desk: Desk) -> Opinion:
        """See `LocalRule.act`."""
        scores: list[int | None] = [desk.evaluate(inputs, inputs.parent, None)]
        for subject in inputs.subjects:
            own = subject.author == desk.member
            skip = own or not subject.live
            scores.append(None if skip else desk.evaluate(inputs, inputs.parent, subject.id))
        return Opinion(inputs.of[0].root, tuple(scores))

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]


def _column(vector: tuple[int | None, ...], index: int) -> int:
    score = vector[index] if index < len(vector) else None
    return HOLE if score is None else score
