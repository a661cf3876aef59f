"""What a network takes: transactions, then rounds in which every member is a process of its own.

Training costs next to nothing; everything else is as at organisations: signed requests, uploads,
downloads, blocks executed by every member, journals and ledgers on disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.consensus.cometbft.binary import find_binary
from tallystick.errors import ConfigError, UnavailableError
from tallystick.federation.recipes import load_recipe
from tallystick.federation.site_metrics import read_metrics
from tallystick.federation.task_file import Task
from tallystick.lab.bench.consortium_load import measure_load
from tallystick.lab.bench.machine import Measure, check_counts
from tallystick.lab.bench.network_load import measure_latency, measure_throughput
from tallystick.lab.bench.network_members import Place, Watch, run_members
from tallystick.lab.bench.network_rounds import RoundCost, round_costs
from tallystick.lab.bench.round import zero_model
from tallystick.lab.consortium import Consortium
from tallystick.lab.flaky import FlakyWire
from tallystick.lab.pilot import Pilot

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np

    from tallystick.consensus.engine import Engine

__all__ = ["ENGINES", "default_engine", "measure_network", "says"]

ENGINES = ("cometbft", "solo")
NODES = 4
LEAST_MEMBERS = 2
SAYS = (
    "Every member is a process of its own on this machine, over HTTP on loopback. A round begins "
    "with the block that opens it and ends with the block that opens the next. The trainers' own "
    "time is counted; they move every parameter a little. Bytes are those of request and answer "
    "bodies. A member's memory is what its process has of its own (without files mapped into it), "
    "beyond what it had before it began; a node's is all that its processes have, at the most."
)
SOLO = "One node orders alone. Its transactions are sent by up to four members, one by one. "
COMETBFT = (
    "Four nodes order together, each three processes: supervisor, application and CometBFT; "
    "members speak to their own, those beyond the fourth to one of these. Transfers, signed "
    "beforehand, are offered at a steady rate whatever became of earlier ones; the highest rate "
    "is named at which all are final within two seconds after the last; one is final when another "
    "node shows its block with the signatures of two thirds. "
)
TASK = "bench"
ONE_BY_ONE = 100  # transactions whose time to final is measured, one after another


@dataclass(frozen=True, slots=True)
class _Site:
    """A network that runs, whatever orders it.

    Attributes
    ----------
    pids
        The processes of each node.
    engine
        Opens a node's ledger for reading, as it is now.
    """

    places: Mapping[str, Place]
    pids: Sequence[Sequence[int]]
    engine: Callable[[], Engine]
    propose: Callable[[Task, Mapping[str, np.ndarray]], bytes]
    load: Callable[[], list[Measure]]


def says(engine: str) -> str:
    """Return what the figures mean."""
    return (COMETBFT if engine == "cometbft" else SOLO) + SAYS


def default_engine() -> str:
    """Return ``cometbft`` where CometBFT is installed, else ``solo``."""
    try:
        find_binary()
    except (ConfigError, UnavailableError):
        return "solo"
    return "cometbft"


def measure_network(
    recipe: str,
    members: int,
    parameters: int,
    repeat: int,
    transactions: int = 1000,
    cut_every: int = 0,
    engine: str = "",
) -> list[Measure]:
    """Return what transactions cost, then rounds: ``repeat`` of them after one to warm up.

    Parameters
    ----------
    transactions
        How many a solo node takes; how many a consortium is offered at 100 a second, and so for
        how long it is offered any number.
    cut_every
        Cut every connection after so many bytes on average; 0 cuts none.
    engine
        ``cometbft`` or ``solo``; by default as `default_engine`.

    Raises
    ------
    ConfigError
        Too few members for the recipe, a number below 1, or no such engine.
    UnavailableError
        CometBFT is not installed.
    """
    check_counts(members=members, parameters=parameters, repeat=repeat, transactions=transactions)
    if members < LEAST_MEMBERS:
        msg = f"--members {members}: a network has {LEAST_MEMBERS} or more, who pay each other"
        raise ConfigError(msg)
    ordering = engine or default_engine()
    if ordering not in ENGINES:
        msg = f"--engine '{ordering}' orders no network"
        raise ConfigError(msg, hint=" or ".join(ENGINES))
    names = tuple(f"member-{number:03d}" for number in range(members))
    opened = _consortium if ordering == "cometbft" else _pilot
    facts = {"members": members, "parameters": parameters, "recipe": recipe, "engine": ordering}
    with (
        tempfile.TemporaryDirectory(prefix="tally-bench-") as name,
        opened(Path(name), names, transactions) as site,
        ExitStack() as stack,
    ):
        patient = _patient(recipe, members, parameters)
        site.propose(
            Task(name=TASK, recipe=recipe, rounds=repeat + 1, stage=patient),
            zero_model(parameters),
        )
        load = site.load()
        places, wires = _cut(site.places, cut_every, stack)
        with ExitStack() as watched:
            watches = [watched.enter_context(Watch(pids, whole=True)) for pids in site.pids]
            told = run_members(TASK, places)
        costs = round_costs(site.engine(), TASK)[1:]
        sent = _bytes_used(site.places)
    if any(each.status != "done" for each in told) or len(costs) != repeat:
        states = ", ".join(sorted({each.status for each in told}))
        msg = f"the task ended {states} after {len(costs) + 1} rounds"
        raise ConfigError(msg, hint="use more --members")
    cuts = {**facts, "cuts": sum(wire.cuts for wire in wires)} if cut_every else facts
    used = tuple(float(each.peak_bytes - each.baseline_bytes) for each in told)
    return [
        *load,
        *_of_rounds(costs, cuts),
        Measure("bytes_per_member_per_round", "B", sent, facts),
        Measure("member_memory_bytes", "B", used, facts),
        Measure("memory_bytes_per_node", "B", tuple(float(each.peak) for each in watches), facts),
    ]


def _of_rounds(costs: Sequence[RoundCost], facts: Mapping[str, Any]) -> list[Measure]:
    blocks = tuple(float(cost.blocks) for cost in costs)
    full = tuple(float(cost.full) for cost in costs)
    steps = tuple(float(cost.steps) for cost in costs)
    transactions = tuple(float(cost.transactions) for cost in costs)
    return [
        Measure("seconds_per_round", "s", tuple(cost.seconds for cost in costs), facts),
        Measure("blocks_per_round", "", blocks, facts),
        Measure("full_blocks_per_round", "", full, facts),
        Measure("sequential_blocks_per_round", "", steps, facts),
        Measure("transactions_per_round", "", transactions, facts),
    ]


@contextmanager
def _consortium(folder: Path, names: tuple[str, ...], transactions: int) -> Generator[_Site]:
    nodes, guests = names[:NODES], names[NODES:]
    with Consortium(folder, nodes, guests=guests) as network:
        yield _Site(
            places={name: Place(network.home(name), network.url(name)) for name in names},
            pids=[tuple(network.pids(name).values()) for name in nodes],
            engine=lambda: network.engine(nodes[0]),
            propose=network.propose,
            load=lambda: measure_load(network, transactions),
        )


@contextmanager
def _pilot(folder: Path, names: tuple[str, ...], transactions: int) -> Generator[_Site]:
    with Pilot(folder, names) as pilot:
        yield _Site(
            places={name: Place(pilot.home(name), pilot.url) for name in names},
            pids=[(pilot.node_pid,)],
            engine=pilot.engine,
            propose=pilot.propose,
            load=lambda: _pilot_load(pilot, names, transactions),
        )


def _pilot_load(pilot: Pilot, names: tuple[str, ...], transactions: int) -> list[Measure]:
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


def _cut(
    places: Mapping[str, Place], every: int, stack: ExitStack
) -> tuple[dict[str, Place], list[FlakyWire]]:
    """Return the places with a wire in front of each node that breaks now and then."""
    if not every:
        return dict(places), []
    wires: dict[str, FlakyWire] = {}
    for url in dict.fromkeys(place.url for place in places.values()):
        wires[url] = FlakyWire(int(url.rpartition(":")[2]), mean_bytes=every)
        stack.callback(wires[url].close)
    behind = {
        name: Place(place.home, f"http://127.0.0.1:{wires[place.url].port}")
        for name, place in places.items()
    }
    return behind, list(wires.values())


def _bytes_used(places: Mapping[str, Place]) -> tuple[float, ...]:
    """Return what each member sent and received in each round but the first."""
    found: list[float] = []
    for place in places.values():
        rows = read_metrics(place.home / TASK / "metrics.csv")
        found += [
            float(row["sent_bytes"]) + float(row["received_bytes"])
            for number, row in rows.items()
            if number != "1"
        ]
    return tuple(found)
