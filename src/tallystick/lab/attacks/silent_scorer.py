"""Silent scorer: lets the others judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from tallystick.federation.conduct import Moment

__all__ = ["SilentScorer"]


@dataclass(frozen=True, slots=True)
class SilentScorer(Attack):
    """Do everything but score.

    Its author needs to know nothing; with enough of them on a committee nothing is judged.
    """

    name: ClassVar[str] = "silent-scorer"

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        return moment.kind != "score"
