"""Model replacement: a model of one's own, boosted until the average becomes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.boost import Boost
from tallystick.lab.attacks.label_flip import flip_labels

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Replacement"]


@dataclass(frozen=True, slots=True)
class Replacement(Boost):
    """Train on flipped labels, as `label-flip`, and submit that update times ``strength``.

    Flipping is our choice of a model worth nothing; ``backdoor+boost:20`` has the aim of the paper.

    Its author knows its own data, the model, and about how many members there are.

    References
    ----------
    Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020. arXiv:1807.00459.
    """

    name: ClassVar[str] = "replacement"

    def poison_data(
        self,
        x: np.ndarray,
        y: np.ndarray,
        classes: tuple[str, ...] | None,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Attack.poison_data`."""
        return x, flip_labels(y, classes)
