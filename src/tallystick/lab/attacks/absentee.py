"""Absentee: signs up and is never heard of again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.lab.attacks.attack import Attack

__all__ = ["Absentee"]


@dataclass(frozen=True, slots=True)
class Absentee(Attack):
    """Approve and set up, then miss every window from the first round on.

    Its author needs to know nothing; a site that lost its power looks the same.
    """

    name: ClassVar[str] = "absentee"

    def present(self, stage: str, window: str, round_number: int) -> bool:  # noqa: ARG002
        """See `Attack.present`."""
        return round_number < 1
