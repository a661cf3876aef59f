"""``standard``: peel, clip, average. Two of eight clinics walk the honest way backwards."""

from __future__ import annotations

from tallystick.lab.demos.acceptance_standard import accept_standard
from tallystick.lab.demos.defended import tell_defended
from tallystick.lab.demos.options import Demo

__all__ = ["DEMO", "flippers"]

FLIP = "sign-flip:4"
FEWEST_WITH_ATTACKERS = 4


def flippers(members: int) -> int:
    """Return how many attack by default: a quarter, which reverses a mean and is tolerated."""
    return members // 4 if members >= FEWEST_WITH_ATTACKERS else 0


DEMO = Demo(
    recipe="standard",
    says="peel, clip, average: a quarter of the clinics submit reversed updates, without effect",
    data="breast_cancer",
    members=8,
    rounds=10,
    fewest=4,
    kind="clinic",
    attackers=lambda members: [f"{FLIP}={flippers(members)}"],
    epochs=10,
    tell=tell_defended,
    accept=accept_standard,
)
