"""One cell: the real ledger, rules and members in memory, and what each round's model is worth.

The same kernel, rules and member code as a demo's, block for block. What a demo leaves behind for
others (a bundle, a folder that an interrupted run goes on from) has no reader here, so ledger,
blobs and journals stay in memory, and trainers that are known to end need no time limit.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import contextmanager
from dataclasses import asdict
from threading import Lock
from typing import TYPE_CHECKING, Any

from tallystick.lab.bench.machine import describe_machine
from tallystick.lab.decisions import read_decisions
from tallystick.lab.demos.playing import play, terms_of
from tallystick.lab.table_trainer import initial_parameters
from tallystick.mechanisms.records import ROUND
from tallystick.tensors.memory import MemoryBlobs

if TYPE_CHECKING:
    from collections.abc import Generator

    from tallystick.lab.decisions import Judged
    from tallystick.lab.demos.playing import Played
    from tallystick.lab.demos.world import World
    from tallystick.lab.sweep.plan import Cell

__all__ = ["check_cell", "run_cell"]

FORMAT = "tally.lab-cell/1"
# BLAS threads and loggers are the process's: a worker with several threads takes turns.
ONE_AT_A_TIME = Lock()
MACHINE = ("cpu", "cores", "python", "numpy")


def run_cell(cell: Cell) -> dict[str, Any]:
    """Run one cell and return its result, as its file holds it.

    Everything but ``timing`` is a function of the cell, on one kind of machine.

    Raises
    ------
    ConfigError
        The cell's settings do not fit each other; see `check_cell`.
    """
    started, used = time.perf_counter(), time.process_time()
    with ONE_AT_A_TIME, _one_thread(), _without_log():
        world = cell.world()
        played = play(world)
        decisions = read_decisions(played.history, frozenset(world.attackers))
        worth = _worth(world, played)
        rounds = [
            _row(judged, *found) for judged, found in zip(decisions.rounds, worth, strict=True)
        ]
    finished = played.history.finished
    machine = describe_machine()
    return {
        "format": FORMAT,
        "cell": asdict(cell),
        "status": played.history.status,
        "cause": "" if finished is None else finished[1].cause,
        "state_root": played.state_root,
        "start": _measure(world, initial_parameters(world.train)),
        "rounds": rounds,
        "decisions": decisions.to_json(),
        "timing": {
            "seconds": round(time.perf_counter() - started, 3),
            "cpu_seconds": round(time.process_time() - used, 3),
            **{name: machine[name] for name in MACHINE},
        },
    }


def check_cell(cell: Cell) -> None:
    """Find out whether a cell can run, at the price of dealing its rows.

    Raises
    ------
    ConfigError
        Names what does not fit: too few rows or members, an unknown name, terms that contradict
        themselves.
    MissingExtraError
        A bundled table without scikit-learn.
    """
    world = cell.world()
    terms_of(world.task(), world, MemoryBlobs())


def _worth(world: World, played: Played) -> list[tuple[float | None, float | None]]:
    """Return accuracy and attack success after each round that was attempted.

    A void round leaves the model as it was, and so what it is worth.
    """
    known: dict[bytes, tuple[float | None, float | None]] = {}
    found: list[tuple[float | None, float | None]] = []
    for each in played.history.rounds:
        if each.phase != ROUND:
            continue
        model = None if each.ended is None else each.ended[1].model
        if model is None:
            found.append((None, None))
            continue
        if model.root not in known:
            arrays = played.arrays(model.root)
            known[model.root] = _measure(world, arrays), world.backdoor_success(arrays)
        found.append(known[model.root])
    return found


def _measure(world: World, arrays: dict[str, Any]) -> float | None:
    accuracy = world.measure(arrays)
    return accuracy if accuracy is not None and math.isfinite(accuracy) else None


def _row(judged: Judged, accuracy: float | None, success: float | None) -> dict[str, Any]:
    return {
        "round": judged.number,
        "void": judged.void,
        "accuracy": accuracy,
        "attack_success": success,
        "accepted_honest": judged.accepted_honest,
        "refused_honest": judged.refused_honest,
        "accepted_malicious": judged.accepted_malicious,
        "refused_malicious": judged.refused_malicious,
    }


@contextmanager
def _one_thread() -> Generator[None]:
    """Keep BLAS to one thread: the cells are what runs side by side, and bits must not differ."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # comes with scikit-learn; without it everything works, more slowly
        yield
        return
    with threadpool_limits(1):
        yield


@contextmanager
def _without_log() -> Generator[None]:
    """Let nobody hear of members that lose a turn: the result counts them."""
    logger = logging.getLogger("tallystick")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
