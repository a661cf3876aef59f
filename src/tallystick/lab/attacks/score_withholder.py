"""Score withholder: seals a judgement, and keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from tallystick.federation.conduct import Moment

__all__ = ["ScoreWithholder"]


@dataclass(frozen=True, slots=True)
class ScoreWithholder(Attack):
    """Train, seal and reveal updates as agreed, seal scores, and never reveal those.

    Its author sees the other scorers' reveals first, and so whether its own would decide anything.
    """

    name: ClassVar[str] = "score-withholder"

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        return (moment.kind, moment.window) != ("score", "reveal")
