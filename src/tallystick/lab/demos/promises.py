"""The bounds a single run is held to, by what it runs on.

They are floors for the worst seed, measured on seeds that nothing was tuned on. Where nothing was
measured nothing is promised, and the number is only reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallystick.lab.demos.world import World

__all__ = ["EFFECT", "LEDGER_BYTES", "effect_bound", "gap_bound", "honest_bound"]

LEDGER_BYTES = 512  # seal and reveal of one update, whatever the model's size
EFFECT = 0.01  # what a poisoned update may move accuracy by
ALPHA = 0.5  # rows dealt more unevenly than this: nothing was measured

# How far below centralised training the worst seed may end, by recipe, then IID clean or attacked,
# then Dirichlet 0.5 clean and attacked; on breast_cancer.
GAPS = {
    "standard": (0.035, 0.035, 0.055, 0.065),
    "bflc": (0.035, 0.035, 0.055, 0.065),
    "chain-fl": (0.035, None, 0.035, None),
}
OTHER_DATA = 0.01  # what any other table is granted on top
OTHER_ROWS = 3  # or as many test rows, where those are worth more

# The largest share of honest updates refused, in the same order.
HONEST = {
    "standard": (0.05, 0.05, 0.16, 0.32),
    "bflc": (0.05, 0.05, 0.15, 0.30),
}


def gap_bound(world: World) -> float | None:
    """Return how far accuracy may stay below centralised training; `None` without a promise."""
    bound = _pick(GAPS.get(world.recipe), world)
    if bound is None or world.data == "breast_cancer":
        return bound
    return max(bound + OTHER_DATA, OTHER_ROWS * world.one_row)


def honest_bound(world: World) -> float | None:
    """Return the largest share of honest updates refused; `None` without a promise."""
    return _pick(HONEST.get(world.recipe), world)


def effect_bound(rows: int) -> float:
    """Return what a poisoned update may move accuracy by: a point, and never less than a row."""
    return max(EFFECT, 1 / rows)


def _pick(bounds: tuple[float | None, ...] | None, world: World) -> float | None:
    if bounds is None:
        return None
    kind, _, alpha = world.partition.partition(":")
    if kind != "iid" and float(alpha) < ALPHA:
        return None
    return bounds[2 * (kind != "iid") + bool(world.poisoners)]
