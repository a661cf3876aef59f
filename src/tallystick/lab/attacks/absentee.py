"""Absentee: signs up and is never heard of again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from tallystick.federation.conduct import Moment

__all__ = ["Absentee"]


@dataclass(frozen=True, slots=True)
class Absentee(Attack):
    """Approve and set up, then miss every window from the first round on.

    Its author needs to know nothing; a site that lost its power looks the same.
    """

    name: ClassVar[str] = "absentee"

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        return False
