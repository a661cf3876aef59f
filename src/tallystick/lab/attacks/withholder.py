"""Withholder: seals, and does not reveal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.lab.attacks.attack import Attack

__all__ = ["Withholder"]


@dataclass(frozen=True, slots=True)
class Withholder(Attack):
    """Seal like everybody else and keep the record and its salt back in every round.

    Its author sees all other reveals before it would have to send its own, which is what makes
    withholding a vote on the next beacon.
    """

    name: ClassVar[str] = "withholder"

    def present(self, stage: str, window: str, round_number: int) -> bool:  # noqa: ARG002
        """See `Attack.present`."""
        return window != "reveal" or round_number < 1
