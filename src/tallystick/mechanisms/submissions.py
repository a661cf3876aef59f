"""What rules that collect artefacts share: how they are listed, and submissions under privacy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from tallystick.mechanisms import reasons
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.records import ACCEPTED, Artefact, Output, Subject
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from tallystick.mechanisms.rule import Desk, Held, Inputs
    from tallystick.mechanisms.theory.protection import Protection

__all__ = ["PrivateSubmission", "list_artefacts"]


class PrivateSubmission(ABC):
    """A rule by which members submit updates that are protected on their own side."""

    __slots__ = ()

    place: ClassVar[Place] = Place.LOCAL
    record: ClassVar[type[Artefact]] = Artefact
    refs: ClassVar[tuple[str, ...]] = ("data",)

    @property
    @abstractmethod
    def protection(self) -> Protection:
        """What happens on the member's side."""

    def fold(self, records: tuple[Held, ...], inputs: Inputs) -> Output:
        """See `Rule.fold`."""
        return Output(list_artefacts(records, inputs))

    def act(self, inputs: Inputs, desk: Desk) -> Artefact:
        """See `LocalRule.act`."""
        return desk.train(inputs, self.protection)


def list_artefacts(records: tuple[Held, ...], inputs: Inputs) -> tuple[Subject, ...]:
    """Return one subject per artefact, sorted by root and author; columns are size and weight.

    Of several authors of the same bytes the first one in this task keeps them, in one stage the
    one with the lowest ticket; the others are refused as duplicates. Artefacts without bytes have
    no content to copy.
    """
    artefacts = [
        (held.record.root, held.author, held.group, held.record)
        for held in records
        if isinstance(held.record, Artefact)
    ]
    keepers: dict[bytes, str] = {}
    for root, author, _, artefact in artefacts:
        if not artefact.size:
            continue
        best = keepers.get(root)
        if best is None or _ticket(inputs, author) < _ticket(inputs, best):
            keepers[root] = author
    keepers.update(inputs.known)
    return tuple(
        Subject(
            root,
            author,
            group,
            ACCEPTED if not artefact.size or keepers[root] == author else reasons.DUPLICATE,
            (artefact.size, artefact.weight),
            artefact.parents[0] if artefact.parents else b"",
        )
        for root, author, group, artefact in sorted(
            artefacts, key=lambda found: (found[0], found[1])
        )
    )


def _ticket(inputs: Inputs, author: str) -> tuple[bytes, str]:
    return ticket(inputs.beacon, inputs.key, author), author
