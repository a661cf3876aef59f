"""The bounds a single run is held to, by what it runs on.

They are floors for the worst seed, measured on seeds that nothing was tuned on. Where nothing was
measured nothing is promised, and the number is only reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.lab.attacks.attack import POISONING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.lab.attacks.attack import Attack
    from tallystick.lab.demos.world import World

__all__ = [
    "COLLAPSE",
    "EFFECT",
    "LEDGER_BYTES",
    "gap_bound",
    "honest_bound",
    "is_measured",
    "is_without_effect",
    "loss_bound",
]

LEDGER_BYTES = 512  # seal and reveal of one update, whatever the model's size
EFFECT = 0.01  # what a poisoned update may move accuracy by
COLLAPSE = 0.2  # how far below centralised training a broken model is at least
LOSS = 0.05  # what a defence may cost on a table nobody has seen, its rows dealt evenly
# Attacks each of whose updates is refused or, as was measured, moves accuracy by less than that.
HARMLESS = {
    "alie",
    "copier",
    "gaussian",
    "ipm",
    "label-flip",
    "min-max",
    "sign-flip",
    "stale-sender",
}
ALPHA = 0.5  # rows dealt more unevenly than this: nothing was measured

# The settings that were measured: at least so many rounds, at most so many members.
MEASURED = {
    ("standard", "breast_cancer"): (10, 8),
    ("standard", "digits"): (10, 20),
    ("bflc", "breast_cancer"): (10, 8),
    ("bflc", "digits"): (10, 20),
    ("fl-block", "digits"): (10, 20),
    ("chain-fl", "breast_cancer"): (30, 10),
    ("chain-fl", "digits"): (30, 10),
}

# How far below centralised training the worst seed may end, by recipe, then IID clean or attacked,
# then Dirichlet 0.5 clean and attacked; on breast_cancer.
GAPS = {
    "standard": (0.035, 0.035, 0.055, 0.065),
    "bflc": (0.035, 0.035, 0.055, 0.065),
    "fl-block": (0.035, 0.035, 0.055, 0.065),
    "chain-fl": (0.035, None, 0.035, None),
}
DIGITS = 0.01  # what digits are granted on top

# The largest share of honest updates refused, in the same order.
HONEST = {
    "standard": (0.03, 0.10, 0.16, 0.32),
    "bflc": (0.05, 0.05, 0.15, 0.30),
    "fl-block": (0.05, 0.05, 0.15, 0.30),
}


def is_measured(world: World) -> bool:
    """Whether anything was measured on this table, dealt like this, among so many."""
    kind, _, alpha = world.partition.partition(":")
    rounds, members = MEASURED.get((world.recipe, world.data), (0, 0))
    dealt = kind == "iid" or float(alpha) >= ALPHA
    return dealt and world.rounds >= rounds and len(world.members) <= members


def is_without_effect(attacks: Iterable[Attack]) -> bool:
    """Whether all that poisons updates is of a kind that was measured to do nothing alone.

    Nothing is promised of backdoors, mimics, colluders who know the rule or see what seals hide.
    """
    parts = [part for attack in attacks for part in attack.parts]
    names = {part.name for part in parts if part.overrides(*POISONING) or part.omniscient}
    return names <= HARMLESS


def gap_bound(world: World) -> float | None:
    """Return how far accuracy may stay below centralised training; `None` without a promise."""
    bound = _pick(GAPS.get(world.recipe), world)
    return bound + DIGITS if bound is not None and world.data == "digits" else bound


def honest_bound(world: World) -> float | None:
    """Return the largest share of honest updates refused; `None` without a promise."""
    return _pick(HONEST.get(world.recipe), world)


def loss_bound(world: World) -> float | None:
    """Return what a defence may cost where there is no promise against centralised training.

    `None` where rows are dealt unevenly: how much that costs depends on the table; and where noise
    covers updates, which costs more the fewer rows there are.
    """
    if is_measured(world) or world.partition != "iid" or "privacy" in world.shipped.options:
        return None
    return max(LOSS, 3 / len(world.judges))


def _pick(bounds: tuple[float | None, ...] | None, world: World) -> float | None:
    if bounds is None or not is_measured(world):
        return None
    return bounds[2 * (world.partition != "iid") + bool(world.poisoners)]
