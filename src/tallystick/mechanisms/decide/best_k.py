"""Accept the k best scores, as BFLC was published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import msgspec

from tallystick.mechanisms import reasons
from tallystick.mechanisms.decide.below_base import median_score, split_base, split_scores
from tallystick.mechanisms.records import Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["DecideBestKAsPublished"]


@register
@dataclass(frozen=True, slots=True)
class DecideBestKAsPublished:
    """Accept the ``k`` live updates with the highest median scores and refuse the others.

    It fails where its paper is wrong: a quota takes poison whenever fewer than k honest updates
    arrive, and a captured committee fills it with poison alone. Use ``decide/below-base/1``.

    Parameters
    ----------
    k
        How many are accepted, fewer when fewer are live. At least 1.

    Notes
    -----
    The median of an even number of scores is the floor of the mean of the two middle ones; an
    update nobody scored comes last. Ties by id. The base model's score is not looked at. The
    refused carry their median, if they have one, as an extra column; the evidence is the root of
    the scores. Tolerates nobody.

    References
    ----------
    BFLC: Li et al., IEEE Network 2021, known to us from descriptions and the authors' demonstration
    (ten updates, the best six).
    """

    id: ClassVar[str] = "decide/best-k-as-published/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()

    k: int = 6

    def __post_init__(self) -> None:
        """Refuse to accept nobody."""
        if self.k < 1:
            msg = f"k is at least 1, not {self.k}"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del records
        base, rows = split_base(inputs.subjects)
        scorers = len(base)
        order = sorted((row for row in rows if row.live), key=lambda row: _rank(row, scorers))
        refused = {row.rank for row in order[self.k :]}
        evidence = inputs.of[0].root if inputs.of else b""
        return Output(
            tuple(
                _refuse(row, scorers, evidence)
                if row.live and row.rank in refused
                else msgspec.structs.replace(row, columns=split_scores(row, scorers)[0])
                for row in rows
            )
        )

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(k=2), cls()]


def _rank(subject: Subject, scorers: int) -> tuple[int, bytes, str, str]:
    """Return the best first: without scores last, ties by id, author and group."""
    median = median_score(split_scores(subject, scorers)[1])
    return 1 if median is None else -median, *subject.rank


def _refuse(subject: Subject, scorers: int, evidence: bytes) -> Subject:
    before, scores = split_scores(subject, scorers)
    median = median_score(scores)
    told = () if median is None else (median,)
    return msgspec.structs.replace(
        subject,
        verdict=reasons.NOT_CHOSEN,
        columns=(*before, *told),
        evidence=evidence,
    )
