"""Sign flip: walk the honest way backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Arrays, Attack, add_update, update_of

if TYPE_CHECKING:
    import numpy as np

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
        generator: np.random.Generator,  # noqa: ARG002 - an attack's signature
    ) -> Arrays | None:
        """See `Attack.poison_update`."""
        honest = update_of(trained, parent)
        return add_update(parent, {name: -self.power * part for name, part in honest.items()})
