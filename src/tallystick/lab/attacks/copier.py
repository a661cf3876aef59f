"""Copier: somebody else's work under one's own name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.mechanisms.records import Artefact

if TYPE_CHECKING:
    from tallystick.federation.conduct import Knowledge

__all__ = ["Copier"]


@dataclass(frozen=True, slots=True)
class Copier(Attack):
    """Submit the root of another member's last update as one's own; train only before there is one.

    Its author sees everything on the ledger, and so every update once it is revealed; seals keep
    this round's from it, which leaves last round's.
    """

    name: ClassVar[str] = "copier"

    def choose_artefact(self, knowledge: Knowledge) -> Artefact | None:
        """See `Conduct.choose_artefact`."""
        for found in knowledge.last:
            if found.author != knowledge.member and found.columns[0]:
                size, weight = found.columns[:2]
                return Artefact(found.id, size, (knowledge.parent[0],), weight)
        return None
