"""What a round costs when training costs nothing: everything a federation adds, durable.

One process plays every member, in a fresh child so that its memory is its own. The trainers move
every parameter a little, in place; that time is measured and taken out.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.errors import ConfigError
from tallystick.federation.recipes import recipe_text
from tallystick.federation.simulation import Federation, Setup
from tallystick.federation.task_file import Task, resolve_terms
from tallystick.lab.bench.machine import Measure, check_counts, in_child, peak_memory_bytes
from tallystick.mechanisms.records import ROUND
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors.model import write_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.tensors.spec import ModelSpec

__all__ = ["SAYS", "Clock", "Idler", "measure_rounds", "zero_model"]

SAYS = (
    "One process plays every member: it checks, combines and hashes each attested result once for "
    "all of them and keeps one copy of every blob; every member signs, journals and trains by "
    "itself. The trainers' own time is not counted, the copy each of them gets is. Blocks, "
    "journals and blobs are flushed to disk."
)
TENSORS = 4
NOISE = 4096
STEP = 1e-3


@dataclass(frozen=True, slots=True)
class Timed:
    """What the child measured: seconds per round, peak memory, and both before it began."""

    seconds: tuple[float, ...]
    peak_bytes: int
    baseline_bytes: int


def measure_rounds(recipe: str, members: int, parameters: int, repeat: int) -> list[Measure]:
    """Return ``seconds_per_round`` over ``repeat`` rounds after one that warms up, and the peak.

    Raises
    ------
    ConfigError
        Unknown recipe, too few members for it, or a number below 1.
    """
    check_counts(members=members, parameters=parameters, repeat=repeat)
    recipe_text(recipe)
    timed = in_child(run_rounds, recipe, members, parameters, repeat)
    facts = {"members": members, "parameters": parameters, "recipe": recipe}
    baseline = {**facts, "baseline_bytes": timed.baseline_bytes}
    return [
        Measure("seconds_per_round", "s", timed.seconds, facts),
        Measure("peak_memory_bytes", "B", (timed.peak_bytes,), baseline),
    ]


def run_rounds(recipe: str, members: int, parameters: int, repeat: int) -> Timed:
    """Run a federation of ``repeat`` + 1 rounds in this process and time all but the first."""
    baseline = peak_memory_bytes()
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as name:
        folder = Path(name)
        names = tuple(f"member-{number:03d}" for number in range(members))
        model = _initial_model(folder, parameters)
        task = Task(name="bench", recipe=recipe, rounds=repeat + 1)
        terms = resolve_terms(task, owner=names[0], members=names, model=model, trial=True)
        clock = Clock()
        trainers = {member: Idler(clock) for member in names}
        federation = Federation(folder, Setup(trainers=trainers, watch=clock.look), seed=0)
        try:
            clock.task = federation.propose(terms)
            row = federation.run(clock.task)
        finally:
            federation.close()
    if row.status != "done" or len(clock.seconds) != repeat + 1:
        msg = f"the task ended {row.status} ({row.cause}) after {len(clock.seconds)} rounds"
        raise ConfigError(msg, hint="use more --members")
    return Timed(tuple(clock.seconds[1:]), peak_memory_bytes(), baseline)


@dataclass(slots=True)
class Clock:
    """Marks where rounds begin and end, and how long the trainers took in between."""

    task: bytes = b""
    seconds: list[float] = field(default_factory=list[float])
    training: float = 0.0
    _number: int = 0
    _started: float = 0.0

    def look(self, federation: Federation) -> None:
        """Note after each block whether another round has begun."""
        row = federation.row(self.task)
        number = row.round if row.phase == ROUND and row.status == "running" else 0
        if number == self._number:
            return
        now = time.perf_counter()
        if self._number:
            self.seconds.append(now - self._started - self.training)
        self._number, self._started, self.training = number, now, 0.0


@dataclass(frozen=True, slots=True)
class Idler:
    """A trainer that learns nothing: it moves every parameter a little, where it lies."""

    clock: Clock

    def train(
        self, parameters: dict[str, np.ndarray], config: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], int]:
        """Return the same arrays, moved alike at every member but for a twentieth."""
        started = time.perf_counter()
        common = np.random.default_rng(config["round"]).standard_normal(NOISE)
        own = np.random.default_rng(config["seed"]).standard_normal(NOISE)
        step = (STEP * (common + 0.05 * own)).astype(np.float32)
        for array in parameters.values():
            whole = len(array) // NOISE * NOISE
            array[:whole].reshape(-1, NOISE)[:] += step
            array[whole:] += step[: len(array) - whole]
        self.clock.training += time.perf_counter() - started
        return parameters, 1

    def evaluate(
        self,
        parameters: Mapping[str, np.ndarray],  # noqa: ARG002 - a Trainer's signature
        config: Mapping[str, Any],  # noqa: ARG002
    ) -> tuple[dict[str, float], int]:
        """Return the same score for everything."""
        return {"accuracy": 0.5}, 1


def _initial_model(folder: Path, parameters: int) -> ModelSpec:
    return write_model(zero_model(parameters), FileBlobs(folder / "blobs").create())


def zero_model(parameters: int) -> dict[str, np.ndarray]:
    """Return a model of so many float32 zeros, in a few tensors that share their memory."""
    cuts = np.linspace(0, parameters, min(TENSORS, parameters) + 1).astype(int)
    zeros = np.zeros(int(np.diff(cuts).max()), np.float32)
    return {
        f"layer{number}": zeros[: stop - start]
        for number, (start, stop) in enumerate(pairwise(cuts))
    }
