"""Mined blocks, simulated: for studying forks and block rates, never for running a network.

Between members who know each other proof of work buys nothing. It is here because published systems
rest on it, and because a ledger whose branches die is the hardest test of what a member may say
when.
"""

from __future__ import annotations

from tallystick.consensus.pow.network import Network
from tallystick.consensus.pow.node import BrokenFinalityError, Node
from tallystick.consensus.pow.puzzle import Work, check_work, solve
from tallystick.consensus.pow.race import ExponentialLaw, Race, RealPuzzles

__all__ = [
    "BrokenFinalityError",
    "ExponentialLaw",
    "Network",
    "Node",
    "Race",
    "RealPuzzles",
    "Work",
    "check_work",
    "solve",
]
