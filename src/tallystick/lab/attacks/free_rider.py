"""Free rider: the model handed back as if trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

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
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        return {name: array.copy() for name, array in parent.items()}
