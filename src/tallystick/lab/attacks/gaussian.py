"""Gaussian: noise in place of an update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import add_update

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["Gaussian"]


@dataclass(frozen=True, slots=True)
class Gaussian(Attack):
    """Submit parent + noise, each coordinate normal with standard deviation ``strength``.

    Its author knows the model and nothing else: no data are needed.

    References
    ----------
    Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017. arXiv:1703.02757.
    """

    name: ClassVar[str] = "gaussian"
    default_strength: ClassVar[float | None] = 1.0

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        names = sorted(parent)  # the draws must not depend on a dictionary's order
        noise = {name: generator.normal(0.0, self.power, parent[name].shape) for name in names}
        return add_update(parent, noise)
