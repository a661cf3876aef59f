"""Free rider: the model handed back as if trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Arrays, Attack

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FreeRider"]


@dataclass(frozen=True, slots=True)
class FreeRider(Attack):
    """Submit the parent model unchanged: an update of zeros, to be paid without working.

    Its author knows the model; it needs no data.

    References
    ----------
    Lin, Du, Liu, 2019. arXiv:1911.12560.
    """

    name: ClassVar[str] = "free-rider"

    def poison_update(
        self,
        trained: Arrays,  # noqa: ARG002 - an attack's signature
        parent: Arrays,
        generator: np.random.Generator,  # noqa: ARG002
    ) -> Arrays | None:
        """See `Attack.poison_update`."""
        return {name: array.copy() for name, array in parent.items()}
