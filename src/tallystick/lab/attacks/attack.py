"""What an attacker may do differently: hooks into a member's own acts, honest unless overridden.

An attack only changes what its member says, or keeps silent about; the ledger treats that member
like any other. Each attack's docstring states what its author knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.federation.conduct import Honest

if TYPE_CHECKING:
    import numpy as np

__all__ = ["POISONING", "Attack"]

MOST_STRENGTH = 1e6
# Who overrides one of these submits updates that are not honest work.
POISONING = ("choose_artefact", "choose_parent", "poison_data", "poison_update")


@dataclass(frozen=True, slots=True)
class Attack(Honest):
    """A member that behaves honestly; attacks override what they do differently.

    The hooks are those of `tallystick.federation.conduct.Conduct`, and `poison_data`. Every draw
    comes from the generator a hook is given, so that a run can be repeated.

    Attributes
    ----------
    name
        What the command line calls it; the file is named likewise, or as the family it belongs to.
    default_strength
        The strength without a ``:STRENGTH``; `None` for an attack that takes none.
    most_strength
        The largest strength that makes sense.
    omniscient
        Whether it sees what seals hide: see `tallystick.lab.attacks.omniscient`.
    """

    name: ClassVar[str] = "honest"
    default_strength: ClassVar[float | None] = None
    most_strength: ClassVar[float] = MOST_STRENGTH
    omniscient: ClassVar[bool] = False

    strength: float | None = None

    @property
    def label(self) -> str:
        """The attack as the command line writes it."""
        return self.name if self.strength is None else f"{self.name}:{self.strength:g}"

    @property
    def power(self) -> float:
        """The strength asked for, or else the default."""
        return (self.default_strength or 0.0) if self.strength is None else self.strength

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The attacks it consists of: itself, unless it is a composite."""
        return (self,)

    @classmethod
    def takes(cls, strength: float) -> bool:
        """Whether a number is a strength of this attack: above 0, finite, not absurdly large."""
        return math.isfinite(strength) and 0 < strength <= cls.most_strength

    def overrides(self, *hooks: str) -> bool:
        """Whether it may act otherwise than an honest member at any of these hooks."""
        kind = type(self)
        return any(getattr(kind, hook) is not getattr(Attack, hook) for hook in hooks)

    def poison_data(
        self,
        x: np.ndarray,
        y: np.ndarray,
        classes: tuple[str, ...] | None,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows it trains on; ``x`` and ``y`` stay as they are."""
        return x, y
