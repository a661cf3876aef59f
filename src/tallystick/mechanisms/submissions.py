"""Artefacts as subjects: shared by the rules that collect them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.mechanisms import reasons
from tallystick.mechanisms.draws import ticket
from tallystick.mechanisms.records import ACCEPTED, Artefact, Subject

if TYPE_CHECKING:
    from tallystick.mechanisms.rule import Held, Inputs

__all__ = ["list_artefacts"]


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
