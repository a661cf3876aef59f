"""Stale sender: an update to a model that is no longer the newest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from tallystick.federation.conduct import Knowledge

__all__ = ["StaleSender"]


@dataclass(frozen=True, slots=True)
class StaleSender(Attack):
    """Train from the model that the last completed round's updates were built on, and say so.

    Its author knows the ledger; a site whose download is late does the same by accident. Passing
    old work off as new is `replay-rider`.
    """

    name: ClassVar[str] = "stale-sender"

    def choose_parent(self, knowledge: Knowledge) -> tuple[bytes, int]:
        """See `Conduct.choose_parent`."""
        root, size = knowledge.parent
        older = [found.parent for found in knowledge.last if found.live and found.parent != root]
        return (older[0], size) if older and older[0] else (root, size)
