"""Boost: one's own update, too large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import scaled_update

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["Boost"]


@dataclass(frozen=True, slots=True)
class Boost(Attack):
    """Submit one's own update times ``strength``.

    An average of n updates divides each by n, so one attacker with strength n puts its own model
    in place of everybody's. Made for composites: ``backdoor+boost:20``.

    Its author knows its own data, the model, and about how many members there are.

    References
    ----------
    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020. arXiv:1807.00459.
    """

    name: ClassVar[str] = "boost"
    default_strength: ClassVar[float | None] = 20.0

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        return scaled_update(trained, parent, self.power)
