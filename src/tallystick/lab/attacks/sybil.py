"""Sybil: one author behind several seats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import disguised, rows_of

if TYPE_CHECKING:
    import numpy as np

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["Sybil"]


@dataclass(frozen=True, slots=True)
class Sybil(Attack):
    """Submit the work of one: the first ally's update, moved at random by ``strength`` lengths.

    By itself it earns several rewards for one training; with spoiled data, as in
    ``label-flip+sybil``, one poisoner has several votes.

    Its author is one organisation behind several identities, and knows what the first one trained.

    References
    ----------
    Fung, Yoon, Beschastnikh, RAID 2020. arXiv:1808.04866.
    """

    name: ClassVar[str] = "sybil"
    default_strength: ClassVar[float | None] = 0.01

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        trained_by = knowledge.allies()
        if not trained_by:
            return trained
        first = min(trained_by)
        if first == knowledge.member:
            return trained
        (row,) = rows_of([trained_by[first]])
        return disguised(parent, row, generator, self.power)
