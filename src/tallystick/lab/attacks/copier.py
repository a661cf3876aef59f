"""Copier: somebody else's work under one's own name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.lab.attacks.attack import Attack

__all__ = ["Copier"]


@dataclass(frozen=True, slots=True)
class Copier(Attack):
    """Submit the root of another member's last update as one's own.

    Its author sees everything on the ledger, and so every update once it is revealed; seals keep
    this round's from it, which leaves last round's.
    """

    name: ClassVar[str] = "copier"

    @property
    def copies(self) -> bool:
        """See `Attack.copies`."""
        return True
