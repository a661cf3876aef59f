"""Model replacement: one update that outweighs everybody else's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Arrays, Attack, add_update

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Replacement"]


@dataclass(frozen=True, slots=True)
class Replacement(Attack):
    """Submit parent + strength * (wanted - parent), so that a mean of so many becomes ``wanted``.

    The model wanted here is the parent negated, which gives the wrong answer wherever the parent
    gives the right one. Its author knows the model and about how many members there are; no data
    are needed.

    References
    ----------
    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020. arXiv:1807.00459.
    """

    name: ClassVar[str] = "replacement"
    default_strength: ClassVar[float | None] = 20.0

    def poison_update(
        self,
        trained: Arrays,  # noqa: ARG002 - an attack's signature
        parent: Arrays,
        generator: np.random.Generator,  # noqa: ARG002
    ) -> Arrays | None:
        """See `Attack.poison_update`."""
        # The parent in float64 times two: what is wanted lies as far behind zero as it before it.
        return add_update(parent, {name: -2.0 * self.power * part for name, part in parent.items()})
