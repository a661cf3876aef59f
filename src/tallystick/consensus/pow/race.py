"""Where the times between blocks come from: puzzles that are really solved, or the law they follow.

Solving a puzzle is memoryless, so the time to a miner's next block is exponential whatever was
tried before. A study of rates draws it from that law; a test of the engine hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from tallystick.consensus.pow.node import Node
    from tallystick.ledger.block import Block

__all__ = ["Attempt", "ExponentialLaw", "Race", "RealPuzzles"]

SECOND = 1000  # virtual time is in milliseconds


@dataclass(frozen=True, slots=True)
class Attempt:
    """When a miner will have its next block, unless it starts anew before.

    Attributes
    ----------
    delay
        Milliseconds of virtual time from now.
    block
        What was mined, where it was fixed beforehand; `None` if the miner fills it at that moment.
    """

    delay: int
    block: Block | None = None


class Race(Protocol):
    """A source of times between blocks.

    Attributes
    ----------
    commits
        Whether an attempt fixes its block, so that a miner with new transactions starts anew.
    """

    commits: bool

    def start(self, node: Node, time: int) -> Attempt:
        """Return ``node``'s next attempt, begun at a block time in milliseconds."""
        ...


class ExponentialLaw:
    """Times drawn from the exponential law; blocks have a nonce that anything would satisfy.

    Parameters
    ----------
    rate
        Blocks a second of each miner, above 0.
    """

    commits = False

    def __init__(self, rate: float, seed: int) -> None:
        """Take the dice."""
        check_rate(rate)
        self._mean = 1 / rate
        self._dice = np.random.default_rng(seed)

    def start(self, node: Node, time: int) -> Attempt:  # noqa: ARG002 - the law knows no miner
        """See `Race.start`."""
        return Attempt(round(SECOND * self._dice.exponential(self._mean)))


class RealPuzzles:
    """Times taken from the number of hashes that a block's puzzle really took.

    Parameters
    ----------
    rate
        Blocks a second of each miner, above 0: with its puzzles' difficulty this sets how many
        nonces it tries in a second.
    """

    commits = True

    def __init__(self, rate: float) -> None:
        """Set the pace."""
        check_rate(rate)
        self._rate = rate

    def start(self, node: Node, time: int) -> Attempt:
        """See `Race.start`."""
        block, tried = node.mine(time)
        return Attempt(round(SECOND * tried / (self._rate * node.tries)), block)


def check_rate(rate: float) -> None:
    """Check that a block rate is above zero.

    Raises
    ------
    ConfigError
        It is not.
    """
    if not 0 < rate < float("inf"):
        msg = f"a miner finds more than no blocks a second, not {rate}"
        raise ConfigError(msg)
