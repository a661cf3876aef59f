"""What a round costs over HTTP: one node and every member a process of its own, on this machine.

Training costs next to nothing; everything else is as in a pilot: signed requests, uploads,
downloads, blocks executed by every member, journals and ledgers on disk.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tallystick.errors import ConfigError
from tallystick.federation.joining import join
from tallystick.federation.recipes import load_recipe
from tallystick.federation.site_metrics import read_metrics
from tallystick.federation.task_file import Task
from tallystick.lab.bench.machine import Measure, check_counts
from tallystick.lab.bench.network_load import measure_latency, measure_throughput
from tallystick.lab.bench.round import Clock, Idler, zero_model
from tallystick.lab.flaky import FlakyWire
from tallystick.lab.pilot import Pilot
from tallystick.ledger.collect.rows import NAMES, TASKS
from tallystick.ledger.kernel import Kernel

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from tallystick.consensus.engine import Engine

__all__ = ["SAYS", "measure_network"]

SAYS = (
    "One node of the engine solo and every member a process of its own on this machine, over HTTP "
    "on loopback. A round begins with the block that opens it and ends with the block that opens "
    "the next. The trainers' own time is counted; they move every parameter a little. Bytes are "
    "those of request and answer bodies. Memory is what a process has of its own (without files "
    "mapped into it), beyond what it had before it began."
)
LOOK_SECONDS = 0.02
TASK = "bench"
ONE_BY_ONE = 100  # transactions whose time to final is measured, one after another


@dataclass(frozen=True, slots=True)
class Told:
    """What a member's process says at its end."""

    status: str
    baseline_bytes: int
    peak_bytes: int


def measure_network(
    recipe: str,
    members: int,
    parameters: int,
    repeat: int,
    transactions: int = 1000,
    cut_every: int = 0,
) -> list[Measure]:
    """Return what transactions cost, then rounds: ``repeat`` of them after one to warm up.

    Parameters
    ----------
    cut_every
        Cut every connection after so many bytes on average; 0 cuts none.

    Raises
    ------
    ConfigError
        Too few members for the recipe, or a number below 1.
    """
    check_counts(members=members, parameters=parameters, repeat=repeat, transactions=transactions)
    names = tuple(f"member-{number:03d}" for number in range(members))
    facts = {"members": members, "parameters": parameters, "recipe": recipe, "engine": "solo"}
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as name, ExitStack() as opened:
        pilot = opened.enter_context(Pilot(Path(name), names))
        patient = _patient(recipe, members, parameters)
        task = Task(name=TASK, recipe=recipe, rounds=repeat + 1, stage=patient)
        pilot.propose(task, zero_model(parameters))
        load = _load(pilot, names, transactions)
        wire = FlakyWire(pilot.port, mean_bytes=cut_every)
        opened.callback(wire.close)
        url = f"http://127.0.0.1:{wire.port if cut_every else pilot.port}"
        with _Watch(pilot.node_pid) as watch:
            told = _run_members(pilot, names, url)
        seconds = _round_seconds(pilot.engine())[1:]
        bytes_used = _bytes_used(pilot, names)
    if any(each.status != "done" for each in told) or len(seconds) != repeat:
        states = ", ".join(sorted({each.status for each in told}))
        msg = f"the task ended {states} after {len(seconds) + 1} rounds"
        raise ConfigError(msg, hint="use more --members")
    used = tuple(each.peak_bytes - each.baseline_bytes for each in told)
    cuts = {**facts, "cuts": wire.cuts} if cut_every else facts
    return [
        *load,
        Measure("seconds_per_round", "s", seconds, cuts),
        Measure("bytes_per_member_per_round", "B", bytes_used, facts),
        Measure("member_memory_bytes", "B", tuple(map(float, used)), facts),
        Measure("node_memory_bytes", "B", (float(watch.peak - watch.baseline),), facts),
    ]


def _load(pilot: Pilot, names: tuple[str, ...], transactions: int) -> list[Measure]:
    facts = {"members": len(names), "transactions": transactions, "engine": "solo"}
    rate = measure_throughput(pilot, names, transactions)
    times = measure_latency(pilot, names[0], ONE_BY_ONE)
    alone = {**facts, "transactions": ONE_BY_ONE}
    return [
        Measure("transactions_per_second", "1/s", (rate,), facts),
        Measure("latency_p50_seconds", "s", (times[len(times) // 2],), alone),
        Measure("latency_p95_seconds", "s", (times[len(times) * 95 // 100],), alone),
    ]


def _patient(recipe: str, members: int, parameters: int) -> dict[str, dict[str, str]]:
    """Return changes to a recipe's stages: windows long enough for a model of that size."""
    length = f"{max(600, 20 * parameters // 1_000_000)}s"
    return {
        stage.name: {name: length for name in ("within", "reveal", "hold") if getattr(stage, name)}
        for stage in load_recipe(recipe).stages("round", members)
        if stage.within
    }


def _run_members(pilot: Pilot, names: tuple[str, ...], url: str) -> list[Told]:
    context: Any = multiprocessing.get_context("fork")
    pipes: list[Connection] = []
    children: list[Any] = []
    try:
        for name in names:
            ours, theirs = context.Pipe()
            child = context.Process(target=_member, args=(theirs, url, pilot.home(name)))
            child.start()
            theirs.close()
            pipes.append(ours)
            children.append(child)
        return [pipe.recv() for pipe in pipes]
    except EOFError as error:
        msg = "a member's process ended before the task did"
        raise ConfigError(msg) from error
    finally:
        for child in children:
            child.join(10)
            if child.is_alive():
                child.kill()


def _member(pipe: Connection, url: str, home: Path) -> None:
    with _Watch(os.getpid()) as watch:
        joined = join(url, task=TASK, trainer=Idler(Clock()), home=home)
    pipe.send(Told(joined.status, watch.baseline, watch.peak))


def _round_seconds(engine: Engine) -> tuple[float, ...]:
    """Return how long each round took, by the times of the blocks that began them."""
    kernel = Kernel(engine.genesis)
    state, head = kernel.found()
    began: dict[int, int] = {}
    ended = 0
    for block in engine.blocks(1):
        outcome = kernel.apply(state, head, block)
        state.commit(outcome.changes)
        head = outcome.header
        task = state.get(NAMES, TASK)
        row = None if task is None else state.get(TASKS, task)
        if row is not None and row.phase == 1:
            began.setdefault(row.round, head.time)
        elif row is not None and began and not ended:
            ended = head.time
    times = [*(began[number] for number in sorted(began)), ended]
    return tuple((after - before) / 1000 for before, after in pairwise(times))


def _bytes_used(pilot: Pilot, names: tuple[str, ...]) -> tuple[float, ...]:
    """Return what each member sent and received in each round but the first."""
    found: list[float] = []
    for name in names:
        rows = read_metrics(pilot.home(name) / TASK / "metrics.csv")
        found += [
            float(row["sent_bytes"]) + float(row["received_bytes"])
            for number, row in rows.items()
            if number != "1"
        ]
    return tuple(found)


class _Watch:
    """Looks at a process's own memory until told to stop."""

    def __init__(self, pid: int) -> None:
        """Note what it has now."""
        self._status = Path(f"/proc/{pid}/status")
        self.baseline = self.peak = self._own()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.peak = max(self.peak, self._own())

    def _own(self) -> int:
        """Return the bytes that are the process's own; 0 where the system does not say."""
        try:
            for line in self._status.read_text(encoding="ascii").splitlines():
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            time.sleep(0)
        return 0
