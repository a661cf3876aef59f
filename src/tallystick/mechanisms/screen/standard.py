"""What every update must pass before it is judged: parent, shape, range, length, originality."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from tallystick.mechanisms.aggregation import bench_of, median_of, shape_of
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.reasons import (
    DUPLICATE,
    NORM,
    OUT_OF_RANGE,
    STALE_PARENT,
    WRONG_SHAPE,
)
from tallystick.mechanisms.records import ACCEPTED, Attestation, Output, Subject
from tallystick.mechanisms.registry import register
from tallystick.mechanisms.rule import Held, Inputs, Place
from tallystick.mechanisms.screening import refuse
from tallystick.tensors.arithmetic import norm_of
from tallystick.tensors.workbench import RANGE, SHAPE

__all__ = ["Standard"]

MAX_RANGE_BITS = 31


@register
@dataclass(frozen=True, slots=True)
class Standard:
    """Refuse updates that no honest member sends; judge nobody's data.

    In this order, and the first that applies: another parent than the round's (302), not of the
    model's shape (303, also of size zero: its author had nothing to send), a value out of range
    (304), a length beyond ``norm_times`` the median length of all of the right shape and parent
    (305), and a root that several authors sent (306). Of the latter the one with the lowest ticket
    is kept: nobody can tell who copied whom.

    Parameters
    ----------
    range_bits
        Values are below ``2^range_bits`` in size; 1 to 31.
    norm_times
        How many median lengths an update may have; 0 is no limit. The limit does not apply when
        the median is zero.

    Notes
    -----
    Lengths are compared as integers, as `norm_of` and `median_of` round them. Who was refused
    before stays as it was.
    """

    id: ClassVar[str] = "screen/standard/1"
    place: ClassVar[Place] = Place.ATTESTED
    record: ClassVar[type[Attestation]] = Attestation
    refs: ClassVar[tuple[str, ...]] = ()
    needs_model: ClassVar[bool] = True

    range_bits: int = 30
    norm_times: int = 100

    def __post_init__(self) -> None:
        """Refuse parameters without meaning."""
        if not 1 <= self.range_bits <= MAX_RANGE_BITS:
            msg = f"range_bits is 1 to {MAX_RANGE_BITS}, not {self.range_bits}"
            raise ValueError(msg)
        if self.norm_times < 0:
            msg = f"norm_times is at least 0, not {self.norm_times}"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:  # noqa: ARG002 - attested
        """See `Rule.fold`."""
        given = inputs.of[0]
        verdicts = [self._form(subject, inputs) for subject in given.subjects]
        self._refuse_long(verdicts, inputs)
        _refuse_copies(verdicts, inputs)
        evidence = given.root
        return Output(
            subjects=tuple(
                refuse(subject, verdict, evidence) if subject.live and verdict else subject
                for subject, verdict in zip(given.subjects, verdicts, strict=True)
            )
        )

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls(), cls(range_bits=12, norm_times=0)]

    def _form(self, subject: Subject, inputs: Inputs) -> int:
        """Return the verdict on one update by itself."""
        if not subject.live:
            return subject.verdict
        if subject.parent != inputs.parent[0]:
            return STALE_PARENT
        wrong = shape_of(subject, inputs, (1 << self.range_bits) - 1)
        return {SHAPE: WRONG_SHAPE, RANGE: OUT_OF_RANGE}.get(wrong, ACCEPTED)

    def _refuse_long(self, verdicts: list[int], inputs: Inputs) -> None:
        if not self.norm_times:
            return
        bench, model = bench_of(inputs)
        subjects = inputs.of[0].subjects
        measured = [
            at
            for at, subject in enumerate(subjects)
            if subject.live and verdicts[at] in {ACCEPTED, OUT_OF_RANGE}
        ]
        squares = bench.norms([subjects[at].id for at in measured], model)
        lengths = [norm_of(square) for square in squares]
        limit = self.norm_times * median_of(lengths)
        for at, length in zip(measured, lengths, strict=True):
            if verdicts[at] == ACCEPTED and limit and length > limit:
                verdicts[at] = NORM


def _refuse_copies(verdicts: list[int], inputs: Inputs) -> None:
    first: dict[bytes, tuple[bytes, int]] = {}
    for at, subject in enumerate(inputs.of[0].subjects):
        if verdicts[at] != ACCEPTED:
            continue
        rank = (ticket(inputs.beacon, inputs.key, subject.author), at)
        holder = first.get(subject.id)
        if holder is not None:
            verdicts[max(rank, holder)[1]] = DUPLICATE
            rank = min(rank, holder)
        first[subject.id] = rank
