"""Rule-aware: colluders who know how `standard` judges, and stay just on the right side of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.rows import disguised, rows_of

if TYPE_CHECKING:
    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Knowledge

__all__ = ["RuleAware"]

THRESHOLD = -0.1  # of `standard`'s peeling
MARGIN = 0.05  # how far above it they stay, since others' updates are not quite known
TURNS = 8
SWEEPS = 50
HALVINGS = 20
NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class RuleAware(Attack):
    """Push against the honest mean as hard as peeling by median cosine lets one.

    Peeling refuses who has a median cosine of -0.1 or less to the others, the highest of them left
    out: those of possible allies. So colluders who send the same need about half of the honest
    updates not against them: at first those least aligned with the honest mean. They take the
    direction closest to the mean reversed that is at right angles or less to those few, lean on
    them or away from them until its median cosine is just above -0.05, and look whether others
    would do better. The strength is how many median lengths they
    send: 1 by default, since clipping cuts what is longer. The construction is ours.

    Its author knows the recipe's rule, what its allies trained, and the updates that were revealed
    last round, for this round's are sealed. Beside ``omniscient`` it knows this round's.
    """

    name: ClassVar[str] = "rule-aware"
    default_strength: ClassVar[float | None] = 1.0

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        revealed = knowledge.revealed()
        honest = {name: revealed[name] for name in revealed.keys() - knowledge.allied}
        known = honest or knowledge.allies()  # in the first round they have none but their own
        rows = rows_of(known[name] for name in sorted(known))
        lengths = np.linalg.norm(rows, axis=1) if len(rows) else np.zeros(0)
        rows, lengths = rows[lengths > 0], lengths[lengths > 0]
        if len(rows) < 2:
            return trained
        units = rows / lengths[:, None]
        direction = _hardest(units @ units.T, len(knowledge.allied)) @ units
        wanted = direction * (self.power * np.median(lengths))
        return disguised(parent, wanted, generator)


def _hardest(cosines: np.ndarray, colluders: int) -> np.ndarray:
    """Return the direction that passes and points least along the honest mean.

    Parameters
    ----------
    cosines
        Of the honest updates to one another, shape (n, n).
    colluders
        How many send the direction, at cosine 1 to one another.

    Returns
    -------
        How much of each honest update, scaled to length 1, it consists of, shape (n,); its own
        length is 1.
    """
    count = len(cosines)
    against = -_unit(np.ones(count), cosines)
    left_out = _left_out(count, colluders)
    voices = count + colluders - 1 - left_out
    needed = min(count, max(1, voices // 2 + 2 - colluders + left_out))
    best, furthest = -against, -1.0
    leaning = against
    for _ in range(TURNS):
        few = np.argsort(-(cosines @ leaning), kind="stable")[:needed]
        leaning = _lean(cosines, colluders, against, few)
        reach = float(leaning @ cosines @ against)
        if reach <= furthest or not _passes(leaning, cosines, colluders):
            break
        best, furthest = leaning, reach
    return best


def _lean(cosines: np.ndarray, colluders: int, against: np.ndarray, few: np.ndarray) -> np.ndarray:
    """Return ``against``, projected to right angles with ``few``, as far from them as passes."""
    support = np.zeros(len(cosines))
    edge = against.copy()
    for _ in range(SWEEPS):  # the dual's coordinates in turn: none may fall below zero
        for row in few:
            missing = support[row] - cosines[row] @ edge
            edge[row] += max(0.0, missing) - support[row]
            support[row] = max(0.0, missing)
    inside = np.zeros(len(cosines))
    inside[few] = 1
    if edge @ cosines @ edge < NOTHING:  # those few leave no other direction
        return _unit(inside, cosines)
    edge, inside = _unit(edge, cosines), _unit(inside, cosines)

    def turned(share: float) -> np.ndarray:
        """Return the direction from ``inside`` (0) by ``edge`` (1) to ``against`` (2)."""
        low, first, second = (0, inside, edge) if share <= 1 else (1, edge, against)
        return _unit((1 - share + low) * first + (share - low) * second, cosines)

    low, high = 0.0, 2.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        low, high = (share, high) if _passes(turned(share), cosines, colluders) else (low, share)
    return turned(low)


def _passes(direction: np.ndarray, cosines: np.ndarray, colluders: int) -> bool:
    """Whether a colluder's median cosine to everybody else, allies left out, is high enough."""
    others = np.sort(np.concatenate([np.ones(colluders - 1), cosines @ direction]))
    counted = others[: max(1, len(others) - _left_out(len(cosines), colluders))]
    middle = counted[(len(counted) - 1) // 2] + counted[len(counted) // 2]
    return float(middle) / 2 > THRESHOLD + MARGIN


def _left_out(count: int, colluders: int) -> int:
    """Return how many of one's highest cosines the rule leaves out: one less than it tolerates."""
    return max(0, (count + colluders - 1) // 3 - 1)


def _unit(direction: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """Return a direction, given by what it consists of, with length 1."""
    square = float(direction @ cosines @ direction)
    return direction / np.sqrt(square) if square > 0 else direction
