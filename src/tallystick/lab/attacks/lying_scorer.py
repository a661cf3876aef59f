"""Lying scorer: full marks for friends, none for anybody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tallystick.federation.conduct import Knowledge, Scores
    from tallystick.mechanisms.records import Subject

__all__ = ["LyingScorer"]

FRIEND_BPS, STRANGER_BPS = 10_000, 0
BASE_BPS = 9_000  # high enough that a threshold below the base refuses every stranger


@dataclass(frozen=True, slots=True)
class LyingScorer(Attack):
    """Score allies' updates 10,000 and all others 0, and call the base model's score 9,000.

    Its author knows who its allies are and whose each update is. Where it must not score, because
    the update is its own, it leaves the hole: a vector with another shape would be refused.
    """

    name: ClassVar[str] = "lying-scorer"

    def poison_scores(
        self,
        vector: Scores,
        subjects: Sequence[Subject],
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Scores:
        """See `Conduct.poison_scores`."""
        lies = [BASE_BPS] * (len(vector) - len(subjects))
        lies += [
            FRIEND_BPS if subject.author in knowledge.allied else STRANGER_BPS
            for subject in subjects
        ]
        return [None if told is None else lie for told, lie in zip(vector, lies, strict=True)]
