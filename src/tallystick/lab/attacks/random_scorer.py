"""Random scorer: judges by dice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tallystick.federation.conduct import Knowledge, Scores
    from tallystick.mechanisms.records import Subject

__all__ = ["RandomScorer"]

MOST_BPS = 10_000


@dataclass(frozen=True, slots=True)
class RandomScorer(Attack):
    """Give the base model and every update a score drawn evenly from 0 to 10,000.

    Its author needs no data and spares itself the evaluation. Holes stay holes.
    """

    name: ClassVar[str] = "random-scorer"

    def poison_scores(
        self,
        vector: Scores,
        subjects: Sequence[Subject],
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Scores:
        """See `Conduct.poison_scores`."""
        drawn = generator.integers(0, MOST_BPS, size=len(vector), endpoint=True).tolist()
        return [None if told is None else score for told, score in zip(vector, drawn, strict=True)]
