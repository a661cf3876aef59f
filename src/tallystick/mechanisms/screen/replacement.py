"""Refuse updates so long that they would replace the model instead of improving it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

import msgspec

from tallystick.mechanisms.aggregation import median_of
from tallystick.mechanisms.reasons import NORM, WRONG_SHAPE
from tallystick.mechanisms.records import Attestation, Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Held, Inputs, Place
from tallystick.mechanisms.screening import lengths_in, refuse

__all__ = ["Replacement"]

BPS = 10_000
MOST_COLUMN = 2**63 - 1


@register
@dataclass(frozen=True, slots=True)
class Replacement:
    """Refuse an update longer than ``boost_bps`` of the median length of all live ones.

    Who wants to put a model of its own in the place of the common one has to outweigh everybody
    else's share of an average, so it multiplies its update by about their number; that shows in the
    length. Honest updates from one parent have much the same length.

    Parameters
    ----------
    boost_bps
        How long an update may be, in basis points of the median length; at least 10,000.

    Notes
    -----
    Lengths are compared as integers, as `norm_of` and `median_of` round them; nobody is refused
    when the median is zero, and never more than half. The ratio, in basis points rounded down, is
    appended to the columns of who is refused. An update of the wrong shape is refused as such. Who
    was refused before stays as it was. Tolerates fewer than half; does not see a replacement that
    is spread over many rounds or members, nor backdoors of ordinary length.

    References
    ----------
    Our definition, for FL-Block (Qu et al., IEEE Internet of Things Journal 2020), whose own
    defence we could not read. The attack: Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020.
    arXiv:1807.00459.
    """

    id: ClassVar[str] = "screen/replacement/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()
    needs_model: ClassVar[bool] = True

    boost_bps: int = 30_000

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        if self.boost_bps < BPS:
            msg = f"boost_bps is at least {BPS}, not {self.boost_bps}"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:  # noqa: ARG002 - attested
        """See `Rule.fold`."""
        given = inputs.of[0]
        lengths = lengths_in(inputs)
        median = median_of(list(lengths.values()))

        def judged(at: int, subject: Subject) -> Subject:
            if not subject.live:
                return subject
            if at not in lengths:
                return refuse(subject, WRONG_SHAPE, given.root)
            if not median or BPS * lengths[at] <= self.boost_bps * median:
                return subject
            ratio = min(BPS * lengths[at] // median, MOST_COLUMN)
            told = msgspec.structs.replace(subject, columns=(*subject.columns, ratio))
            return refuse(told, NORM, given.root)

        return Output(subjects=tuple(map(judged, range(len(given.subjects)), given.subjects)))

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(), cls(boost_bps=10_000)]
