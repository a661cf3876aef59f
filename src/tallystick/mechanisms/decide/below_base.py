"""Refuse updates that make the model clearly worse than it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import msgspec

from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["DecideBelowBase", "median_score", "split_base", "split_scores"]

WHOLE = 10_000  # basis points


@register
@dataclass(frozen=True, slots=True)
class DecideBelowBase:
    """Refuse an update whose median score is more than ``margin_bps`` below the base model's.

    A quota ("best k") packs poison whenever fewer than k honest updates arrive; a threshold does
    not. At most ``tolerance_bps`` of the live updates are refused, the lowest scores first, so that
    a captured committee cannot refuse everybody else.

    Parameters
    ----------
    margin_bps
        How far below the base model's median score is still good, 0 to 10,000.
    tolerance_bps
        Largest share of live updates refused, 0 to 10,000.
    peers
        Also compare with the updates themselves: the median of all live updates' medians takes the
        base model's place where it is higher. A base model that has learned nothing yet is beaten
        by poison, too.

    Notes
    -----
    The median of an even number of scores is the floor of the mean of the two middle ones. An
    update nobody scored is accepted. The refused carry their median as an extra column; the
    evidence is the root of the scores. Ties by id.

    References
    ----------
    Our repair of BFLC's best-k (Li et al., IEEE Network 2021).
    """

    id: ClassVar[str] = "decide/below-base/1"
    place: ClassVar[Place] = Place.LEDGER
    record: ClassVar[None] = None
    refs: ClassVar[tuple[str, ...]] = ()

    margin_bps: int = 500
    tolerance_bps: int = 3000
    peers: bool = False

    def __post_init__(self) -> None:
        """Refuse shares outside 0 to 10,000 basis points."""
        for name in ("margin_bps", "tolerance_bps"):
            if not 0 <= getattr(self, name) <= WHOLE:
                msg = f"{name} = {getattr(self, name)}: 0 to 10,000 basis points"
                raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        del records
        base, rows = split_base(inputs.subjects)
        scorers = len(base)
        live = [subject for subject in rows if subject.live]
        scored = [
            (median, subject.id)
            for subject in live
            if (median := median_score(split_scores(subject, scorers)[1])) is not None
        ]
        threshold = self._threshold(base, scored)
        low = [found for found in scored if threshold is not None and found[0] < threshold]
        most = len(live) * self.tolerance_bps // WHOLE
        refused = {name: median for median, name in sorted(low)[:most]}
        evidence = inputs.of[0].root if inputs.of else b""
        return Output(tuple(_verdict(subject, scorers, refused, evidence) for subject in rows))

    def _threshold(self, base: tuple[int, ...], scored: list[tuple[int, bytes]]) -> int | None:
        """Return what is low below; `None` without a score of the base model."""
        found = median_score(base)
        if found is None:
            return None
        among = median_score(tuple(median for median, _ in scored)) if self.peers else None
        return (found if among is None else max(found, among)) - self.margin_bps

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(), cls(margin_bps=0, tolerance_bps=10_000), cls(peers=True)]


def median_score(scores: tuple[int, ...]) -> int | None:
    """Return the median of the scores that are no holes; `None` when there is none."""
    given = sorted(score for score in scores if score >= 0)
    if not given:
        return None
    middle = len(given) // 2
    return given[middle] if len(given) % 2 else (given[middle - 1] + given[middle]) // 2


def split_base(subjects: tuple[Subject, ...]) -> tuple[tuple[int, ...], list[Subject]]:
    """Return the base model's scores, one a scorer and none without it, and all other subjects."""
    bases = [subject.columns for subject in subjects if subject.verdict == reasons.BASE]
    rows = [subject for subject in subjects if subject.verdict != reasons.BASE]
    return (bases[0] if bases else ()), rows


def split_scores(subject: Subject, scorers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a subject's columns from before the scoring, and one score per scorer."""
    before = max(0, len(subject.columns) - scorers)
    return subject.columns[:before], subject.columns[before:]


def _verdict(subject: Subject, scorers: int, refused: dict[bytes, int], evidence: bytes) -> Subject:
    base_columns, _ = split_scores(subject, scorers)
    if not subject.live or subject.id not in refused:
        return msgspec.structs.replace(subject, columns=base_columns)
    return msgspec.structs.replace(
        subject,
        verdict=reasons.SCORE_BELOW_THRESHOLD,
        columns=(*base_columns, refused[subject.id]),
        evidence=evidence,
    )
