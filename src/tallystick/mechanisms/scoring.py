"""Opinions as columns: shared by the rules in which members score updates against a base."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import Opinion, Output, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["FULL_SCORE", "HOLE", "is_vector_of_scores", "list_scores"]

FULL_SCORE = 10_000
HOLE = -1


def is_vector_of_scores(vector: tuple[int | None, ...], inputs: Inputs) -> bool:
    """Whether a vector is a base score and one score or hole a subject, 0 to 10,000 each."""
    if len(vector) != 1 + len(inputs.subjects) or vector[0] is None:
        return False
    return all(score is None or 0 <= score <= FULL_SCORE for score in vector)


def list_scores(
    records: tuple[Held, ...],
    inputs: Inputs,
    column: Callable[[int, int], int] = lambda base, score: score,  # noqa: ARG005 - the score itself
) -> Output:
    """Return the listed subjects, each with one column more per scorer, after a row of the base.

    Scorers come in the order of their names; a hole is -1, and so is what a scorer says of its own.

    Parameters
    ----------
    column
        What of a scorer's base score and its score of a subject becomes the subject's column.
    """
    opinions = sorted(
        (held.author, held.record.vector) for held in records if isinstance(held.record, Opinion)
    )

    def told(author: str, vector: tuple[int | None, ...], at: int, subject: Subject) -> int:
        base, score = _at(vector, 0), _at(vector, at + 1)
        if author == subject.author or base is None or score is None:
            return HOLE
        return column(base, score)

    base = Subject(
        inputs.parent[0] or bytes(32),
        "",
        verdict=reasons.BASE,
        columns=tuple(HOLE if (score := _at(each, 0)) is None else score for _, each in opinions),
    )
    rows = (
        msgspec.structs.replace(
            subject,
            columns=(
                *subject.columns,
                *(told(author, vector, at, subject) for author, vector in opinions),
            ),
        )
        for at, subject in enumerate(inputs.subjects)
    )
    return Output((base, *rows))


def _at(vector: tuple[int | None, ...], at: int) -> int | None:
    return vector[at] if at < len(vector) else None
