"""Label flip: honest training on wrong labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LabelFlip", "flip_labels"]


@dataclass(frozen=True, slots=True)
class LabelFlip(Attack):
    """Train on rows whose class c became C - 1 - c; in a regression, whose target changed sign.

    Its author knows only its own data: the update has an honest size and comes from real
    training, so nothing about its shape gives it away.

    References
    ----------
    Tolpegin, Truex, Gursoy, Liu, ESORICS 2020. arXiv:2007.08432.
    """

    name: ClassVar[str] = "label-flip"

    def poison_data(
        self,
        x: np.ndarray,
        y: np.ndarray,
        classes: tuple[str, ...] | None,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Attack.poison_data`."""
        return x, flip_labels(y, classes)


def flip_labels(y: np.ndarray, classes: tuple[str, ...] | None) -> np.ndarray:
    """Return class C - 1 - c for c, or quantities with their sign changed."""
    return -y if classes is None else len(classes) - 1 - y
