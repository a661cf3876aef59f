"""Processes that are killed mid-round and go on, and updates far larger than a demo's."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.federation.run import simulate
from tallystick.federation.task_file import Task
from tallystick.lab.demos.audit import update_bytes
from tallystick.lab.demos.checks import Check, same
from tallystick.lab.demos.world import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from tallystick.federation.simulation import Federation
    from tallystick.lab.demos.world import World

__all__ = ["bytes_at_size", "kill_checks"]

KILLED_AT = (4, 9, 14)  # heights: in setup, and within windows of two different rounds


def kill_checks(world: World, prefix: str = "") -> Iterable[Check]:
    """Yield that a run killed without warning, three times, ends where an undisturbed one does."""
    with scratch_folder() as folder:
        whole = world.run(folder)
    context = multiprocessing.get_context("spawn")
    deaths = 0
    with scratch_folder() as folder:
        for height in KILLED_AT:
            process = context.Process(target=_run_and_die, args=(world, folder, height))
            process.start()
            process.join()
            deaths += process.exitcode != 0
        resumed = world.run(folder)
    yield same(
        f"{prefix}killed-mid-round",
        deaths,
        len(KILLED_AT),
        f"Processes killed without warning, at blocks {', '.join(map(str, KILLED_AT))}.",
    )
    yield same(
        f"{prefix}killed-same-model",
        resumed.model_root,
        whole.model_root,
        "Taken up again each time, the task ends with the same model, bit for bit.",
    )
    yield same(
        f"{prefix}killed-same-state",
        resumed.state_root,
        whole.state_root,
        "And with the same state root.",
    )


def bytes_at_size(recipe: str, parameters: int, seed: int) -> int:
    """Return the largest update's ledger bytes in a task with so many parameters."""
    members = [f"site-{number}" for number in range(1, 5)]
    with scratch_folder() as folder:
        run = simulate(
            Task(name="size", recipe=recipe, rounds=1),
            {name: _Drifter() for name in members},
            initial={"weights": np.zeros(parameters, np.float32)},
            seed=seed,
            out=folder,
            durable=False,
            evaluate=False,
        )
        return max(update_bytes(run.bundle), default=0)


class _Drifter:
    """A trainer whose model only has a size."""

    def train(
        self, parameters: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], int]:
        """Move every parameter at random."""
        generator = np.random.default_rng(config["seed"])
        moved = {
            name: array + generator.standard_normal(array.shape).astype(array.dtype)
            for name, array in parameters.items()
        }
        return moved, 1

    def evaluate(
        self, parameters: Mapping[str, np.ndarray], config: Mapping[str, Any]
    ) -> tuple[dict[str, float], int]:
        """Judge nothing."""
        del parameters, config
        return {"accuracy": 0.0}, 1


def _run_and_die(world: World, folder: Path, height: int) -> None:
    def watch(federation: Federation) -> None:
        if federation.engine.head.height >= height:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    world.run(folder, watch=watch)
