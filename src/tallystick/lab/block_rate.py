"""How fast miners should mine, by formula and by simulation.

A round of learning waits for updates, then for the first block, then for that block to reach
everybody. Too slow a rate wastes time on puzzles; too fast a one makes forks, and a round whose
block was contested is begun again.

References
----------
Our derivation, for FL-Block (Qu et al., IEEE Internet of Things Journal 2020), after the latency
model of BlockFL: Kim, Park, Bennis, Kim, IEEE Communications Letters 2020. arXiv:1808.03949.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tallystick.consensus.pow import ExponentialLaw, Network, Node
from tallystick.errors import MissingExtraError
from tallystick.federation.trial import simulated_genesis
from tallystick.lab.demos.world import member_names

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FACTORS", "Latency", "contested_share", "draw_sweep"]

FACTORS = (0.25, 0.35, 0.5, 0.71, 1.0, 1.41, 2.0, 2.83, 4.0)  # of the best rate
ROUNDS = 50_000
EXTRA = "demo"


@dataclass(frozen=True, slots=True)
class Latency:
    """The time that a round takes, given how fast each miner mines.

    Parameters
    ----------
    miners
        How many mine; at least 2.
    wait_seconds
        How long a candidate block waits for updates, T_w.
    block_seconds
        How long a block takes to reach the others, T_bp.

    Examples
    --------
    >>> latency = Latency(miners=10, wait_seconds=1.0, block_seconds=0.5)
    >>> round(latency.best_rate, 4), round(latency.seconds(latency.best_rate), 2)
    (0.0929, 3.91)
    """

    miners: int = 10
    wait_seconds: float = 1.0
    block_seconds: float = 0.5

    @property
    def exposure(self) -> float:
        """Miner-seconds in which a block can be contested: a = (N - 1) T_bp."""
        return (self.miners - 1) * self.block_seconds

    @property
    def best_rate(self) -> float:
        """Blocks a second of each miner at which a round is shortest."""
        a = self.exposure
        fixed = self.wait_seconds + self.block_seconds
        return 2 / (a + math.sqrt(a * a + 4 * a * self.miners * fixed))

    def seconds(self, rate: float) -> float:
        """Return E[T] = (T_w + T_bp + 1 / (N rate)) e^(rate a)."""
        once = self.wait_seconds + self.block_seconds + 1 / (self.miners * rate)
        return once * math.exp(rate * self.exposure)

    def contested(self, rate: float) -> float:
        """Return the chance that a block is contested before all have heard of it."""
        return 1 - math.exp(-rate * self.exposure)

    def simulate(self, rate: float, seed: int, rounds: int = ROUNDS) -> float:
        """Return the mean time of a round, in seconds, over races drawn from the exponential law.

        All miners race; a round whose first block is not heard of everywhere before somebody else
        has found another is run again from the start.
        """
        dice = np.random.default_rng(seed)
        total, left = 0.0, rounds
        while left:
            found = np.partition(dice.exponential(1 / rate, (left, self.miners)), 1, axis=1)
            first, second = found[:, 0], found[:, 1]
            total += float(first.sum()) + left * (self.wait_seconds + self.block_seconds)
            left = int((second < first + self.block_seconds).sum())
        return total / rounds


def contested_share(latency: Latency, rate: float, seed: int, blocks: int = 400) -> float:
    """Return the share of heights at which the engine's own network mined more than one block.

    Every node executes every block; times are drawn from the exponential law.
    """
    names = member_names("miner", latency.miners)
    genesis = simulated_genesis("rate", names, seed)
    nodes = [Node(name, genesis, confirmations=blocks) for name in names]
    delay = round(1000 * latency.block_seconds)
    network = Network(nodes, ExponentialLaw(rate, seed), lambda: delay)
    network.run(lambda: nodes[0].tip.height >= blocks)
    heights = [block.header.height for block in network.mined]
    counted = np.bincount(heights)[1 : blocks - 1]  # the last ones may still be contested
    return float((counted > 1).mean())


def draw_sweep(path: Path, latency: Latency, seed: int, rounds: int = ROUNDS) -> None:
    """Draw formula and simulation over the rates around the best one.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(EXTRA, "a plot of block rates") from error
    best = latency.best_rate
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    curve = np.geomspace(FACTORS[0] * best, FACTORS[-1] * best, 200)
    axes.plot(curve, [latency.seconds(rate) for rate in curve], label="formula")
    rates = [factor * best for factor in FACTORS]
    simulated = [latency.simulate(rate, seed, rounds) for rate in rates]
    axes.plot(rates, simulated, "o", label="simulated, exponential law")
    axes.axvline(best, linestyle=":", color="grey", label=f"best rate {best:.4f} / s")
    axes.set_xscale("log")
    axes.set_xticks(rates, [f"{rate:.3f}" for rate in rates])
    axes.minorticks_off()
    axes.set_xlabel("blocks a second of each miner")
    axes.set_ylabel("seconds a round")
    axes.set_title(
        f"{latency.miners} miners, T_w = {latency.wait_seconds:g} s, "
        f"T_bp = {latency.block_seconds:g} s"
    )
    axes.legend()
    figure.savefig(path, dpi=120)
