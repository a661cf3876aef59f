"""Members submit their momentum: the new update with a share of what they sent before."""

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

__all__ = ["SubmitMomentum"]

BPS = 10_000


@register
@dataclass(frozen=True, slots=True)
class SubmitMomentum:
    """Each trainer submits ``momentum`` times its last submission plus the rest of a new update.

    Over rounds the noise of honest updates averages out and what remains of a lie stands out: the
    sender's half of ``aggregate/centred-clipping``. Whoever's last submission is not in the
    reference ``before`` (as a rule ``update@-1``) submits the plain update.

    Parameters
    ----------
    momentum_bps
        The share of the last submission, 0 to 9999 basis points.

    Notes
    -----
    Each value rounds to the nearest integer, ties up. Nobody can see whether a member did so: as
    with training itself, only the result counts.

    References
    ----------
    Karimireddy, He, Jaggi, ICML 2021. arXiv:2012.10333: there of stochastic gradients, here of
    updates.
    """

    id: ClassVar[str] = "submit/momentum/1"
    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Artefact]] = Artefact
    refs: ClassVar[tuple[str, ...]] = ("before",)

    momentum_bps: int = 9000

    def __post_init__(self) -> None:
        """Refuse a share that leaves no room for anything new."""
        if not 0 <= self.momentum_bps < BPS:
            msg = f"momentum_bps is 0 to {BPS - 1}, not {self.momentum_bps}"
            raise ValueError(msg)

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        return Output(list_artefacts(records, inputs))

    def act(self, inputs: Inputs, desk: Desk) -> Artefact:
        """See `LocalRule.act`."""
        update = desk.train(inputs)
        for subject in inputs.refs["before"].subjects if "before" in inputs.refs else ():
            if subject.author == desk.member:
                return desk.blend(inputs, update, subject.id, self.momentum_bps)
        return update

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """See `Rule.examples`."""
        return [cls()]
