"""Refuse updates that are not of the length that all agreed on sending."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import median_of
from tallystick.mechanisms.reasons import NORM, WRONG_SHAPE
from tallystick.mechanisms.records import Attestation, Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Held, Inputs, Place
from tallystick.mechanisms.screening import lengths_in, refuse

__all__ = ["EqualNorm"]

BPS = 10_000


@register
@dataclass(frozen=True, slots=True)
class EqualNorm:
    """Refuse updates much shorter or longer than the median of all live ones (305).

    Where every sender clips to one length, an update of another is no honest one. Together with a
    rule that brings what is left to one length, nobody speaks louder than others.

    Parameters
    ----------
    shortest_bps, longest_bps
        The lengths that pass, in basis points of the median length; 0 for `longest_bps` is no
        limit.

    Notes
    -----
    An update of the wrong shape is refused as such (303). Lengths are compared as integers, as
    `norm_of` and `median_of` round them; nobody is refused for length when the median is zero. The
    length is not appended: anybody can take it from the bytes. Who was refused before stays as it
    was. Tolerates fewer than half: more set the median.

    References
    ----------
    Our repair of LearningChain (Chen, Ji, Luo, Liao, Li, IEEE Big Data 2018), whose normalised
    gradients are a promise of the sender's.
    """

    id: ClassVar[str] = "screen/equal-norm/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()
    needs_model: ClassVar[bool] = True

    shortest_bps: int = 0
    longest_bps: int = 20_000

    def __post_init__(self) -> None:
        """Refuse limits that nothing passes."""
        if not 0 <= self.shortest_bps <= BPS:
            msg = f"shortest_bps is 0 to {BPS}, not {self.shortest_bps}"
            raise ValueError(msg)
        if self.longest_bps and self.longest_bps < BPS:
            msg = f"longest_bps is 0 or at least {BPS}, not {self.longest_bps}"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:  # noqa: ARG002 - attested
        """See `Rule.fold`."""
        given = inputs.of[0]
        lengths = lengths_in(inputs)
        median = median_of(list(lengths.values()))

        def judged(at: int, subject: Subject) -> Subject:
            if not subject.live:
                return subject
            length = lengths.get(at)
            if length is None:
                return refuse(subject, WRONG_SHAPE, given.root)
            return subject if self._passes(length, median) else refuse(subject, NORM, given.root)

        return Output(subjects=tuple(map(judged, range(len(given.subjects)), given.subjects)))

    def _passes(self, length: int, median: int) -> bool:
        if not median:
            return True
        short = length * BPS < self.shortest_bps * median
        long = self.longest_bps and length * BPS > self.longest_bps * median
        return not (short or long)

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(), cls(shortest_bps=9000, longest_bps=11_000)]
