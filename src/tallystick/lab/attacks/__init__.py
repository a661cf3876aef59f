"""Attacks, one a file: what a member that cheats does, and what its author knows."""

from tallystick.lab.attacks.attack import Attack, Composite
from tallystick.lab.attacks.registry import Plan, all_attacks, assign, make_attack, parse_attack

__all__ = ["Attack", "Composite", "Plan", "all_attacks", "assign", "make_attack", "parse_attack"]
