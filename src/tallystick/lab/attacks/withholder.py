"""Withholder: seals, and does not reveal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from tallystick.federation.conduct import Moment

__all__ = ["Withholder"]


@dataclass(frozen=True, slots=True)
class Withholder(Attack):
    """Seal like everybody else and keep record and salt back, of updates, scores and all else.

    Record and salt travel together: who reveals a record under another salt than it sealed is
    refused (code 509), and has revealed nothing. `score-withholder` and `dropout-reveal` keep back
    one of the two.

    Its author sees all other reveals before it would have to send its own, which is what makes
    withholding a vote on the next beacon.
    """

    name: ClassVar[str] = "withholder"

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        return moment.window != "reveal"
