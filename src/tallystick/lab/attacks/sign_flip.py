"""Sign flip: walk the honest way backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import scaled_update

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["SignFlip"]


@dataclass(frozen=True, slots=True)
class SignFlip(Attack):
    """Submit the honest update reversed and scaled: parent - strength * (trained - parent).

    Its author knows its own data, the model and the task; nothing of the others. Unscaled it
    scarcely harms a mean; times four, from a quarter of the members, it reverses one.

    References
    ----------
    Li, Xu, Chen, Giannakis, Ling, AAAI 2019. arXiv:1811.03761.
    """

    name: ClassVar[str] = "sign-flip"
    default_strength: ClassVar[float | None] = 1.0

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        return scaled_update(trained, parent, -self.power)
