"""Attacks, one a file: what a member that cheats does, and what its author knows."""

from tallystick.lab.attacks.attack import Attack
from tallystick.lab.attacks.backdoor import Backdoor, backdoor_success
from tallystick.lab.attacks.composite import Composite
from tallystick.lab.attacks.registry import Plan, all_attacks, assign, make_attack, parse_attack

__all__ = [
    "Attack",
    "Backdoor",
    "Composite",
    "Plan",
    "all_attacks",
    "assign",
    "backdoor_success",
    "make_attack",
    "parse_attack",
]
