"""Hold denier: blind to what others serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.federation.conduct import Knowledge
    from tallystick.mechanisms.records import Subject

__all__ = ["HoldDenier"]


@dataclass(frozen=True, slots=True)
class HoldDenier(Attack):
    """Say of every stranger's artefact that its bytes cannot be had.

    A third of the holders is enough to make honest work unavailable, which is nobody's fault on
    the ledger: such a round falls short and is void.

    Its author knows who its allies are and whose each artefact is.
    """

    name: ClassVar[str] = "hold-denier"

    def poison_holds(
        self, vector: list[int], subjects: Sequence[Subject], knowledge: Knowledge
    ) -> list[int]:
        """See `Conduct.poison_holds`."""
        pairs = zip(vector, subjects, strict=True)
        return [held if subject.author in knowledge.allied else 0 for held, subject in pairs]
