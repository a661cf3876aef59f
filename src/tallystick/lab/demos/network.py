"""A demo's story on a network: four nodes under CometBFT instead of one process's ledger.

Every member is a founder; four of them run nodes, at which the others are guests. Time is real
here: who does not answer is waited for as long as the task's terms say.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.consensus.client import NodeClient, Route
from tallystick.consensus.cometbft.binary import VERSION, find_binary
from tallystick.consensus.remote import Remote
from tallystick.consensus.wire import API, blocks_in
from tallystick.consensus.witness import Witness
from tallystick.errors import ConfigError
from tallystick.federation.privacy import budget_of
from tallystick.federation.run import Ended, check_folder, finish_run, log_to, stop_log
from tallystick.federation.simulation import claim_folder
from tallystick.federation.task_text import task_text
from tallystick.lab.company import Company
from tallystick.lab.consortium import Consortium
from tallystick.lab.demos.checks import Check, same
from tallystick.lab.demos.result import Story
from tallystick.lab.demos.world import watch_rounds
from tallystick.lab.table_trainer import initial_parameters
from tallystick.ledger.block import header_hash
from tallystick.ledger.contracts.validators import validator_set
from tallystick.provenance.history import read_engine
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.lock import Lock
from tallystick.storage.sqlite import LedgerStore

if TYPE_CHECKING:
    from tallystick.federation.run import Run
    from tallystick.federation.task_file import Task
    from tallystick.lab.demos.options import DemoOptions
    from tallystick.lab.demos.world import World
    from tallystick.ledger.collect.rows import TaskRow

__all__ = ["NODES", "run_story"]

NODES = 4


def run_story(world: World, options: DemoOptions, **changes: Any) -> Story:  # noqa: ANN401 - any key of a task
    """Run a demo's own task where its options say, and return the beginning of its story.

    Raises
    ------
    ConfigError
        On a network: fewer members than nodes, a private task, or the folder holds another run.
    UnavailableError
        CometBFT is not installed, or the nodes do not start.
    """
    if options.network:
        return _run_on_network(world, options, world.task(**changes))
    run = world.run(
        options.out,
        evaluate=True,
        durable=options.out is not None,
        watch=watch_rounds(options.progress, world.rounds),
        **changes,
    )
    return Story(world, run)


def _run_on_network(world: World, options: DemoOptions, task: Task) -> Story:
    _check_able(world, task)
    folder = options.out or Path(tempfile.mkdtemp(prefix="tally-"))
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    nodes, guests = world.members[:NODES], world.members[NODES:]
    with ExitStack() as held:
        held.enter_context(closing(Lock(folder)))
        said = {"task": task_text(task), "seed": world.seed, "members": list(world.members)}
        claim_folder(folder, {"format": "tally.run-folder/1", "engine": "cometbft", **said})
        held.callback(stop_log, log_to(folder / "run.log"))
        options.progress("starting nodes", 0, 1)
        network = Consortium(folder / "consortium", nodes, world.seed, guests)
        held.enter_context(network)
        began = time.perf_counter()
        found = network.propose(task, initial_parameters(world.train))
        with Company(network, world.trainers, world.attackers, task.name) as company:
            row = company.run(found, _Progress(options, world.rounds))
            seconds = time.perf_counter() - began
            options.progress("collecting", 0, 1)
            run = _collect(network, company, folder, task, row, seconds)
        facts = _facts(network, run)
        story = Story(world, run, network=facts)
        story.checks.append(_nodes_agree(network, run))
        return story


def _check_able(world: World, task: Task) -> None:
    """Refuse what cannot be run on a network before anything is started."""
    if len(world.members) < NODES:
        msg = f"{len(world.members)} members, and --network needs {NODES} that have a node"
        raise ConfigError(msg, hint="use more --members")
    if budget_of(task) is not None:
        msg = f"the demo of '{world.recipe}' spends privacy budgets, and runs in one process alone"
        raise ConfigError(msg, hint="leave --network out")
    find_binary()


class _Progress:
    """Says which round it is."""

    def __init__(self, options: DemoOptions, rounds: int) -> None:
        self._tell, self._rounds = options.progress, rounds
        self._seen = -1

    def __call__(self, row: TaskRow) -> None:
        number = min(row.round, self._rounds + 1)
        if number > self._seen:
            self._seen = number
            self._tell("training", max(0, number - 1), self._rounds)


def _collect(
    network: Consortium, company: Company, folder: Path, task: Task, row: TaskRow, seconds: float
) -> Run:
    """Write what the run leaves behind, from a ledger that is followed and checked once more."""
    with ExitStack() as opened:
        client = NodeClient(Route((network.url(network.names[-1]),)))
        opened.callback(client.close)
        store = LedgerStore(folder / "ledger.db", durable=False)
        opened.callback(store.close)
        engine = Remote(store, client, network.genesis, Witness(folder / "evidence"))
        engine.catch_up()
        blobs = FileBlobs(folder / "blobs", durable=False)
        opened.callback(blobs.close)
        wanted = dict(read_engine(engine, row.id).artefacts())
        if row.model is not None:
            wanted[row.model.root] = row.model.size
        holders = [player.blobs for player in company.players.values()]
        for root, size in wanted.items():
            blobs.fetch(root, size, holders)
        return finish_run(Ended(engine, blobs, row, seconds), folder, task, company.trainers)


def _facts(network: Consortium, run: Run) -> dict[str, Any]:
    """Return what ordered the run's ledger."""
    engine = network.engine(network.names[0])
    held = [len(block.transactions) for block in engine.blocks(1)][: run.height]
    return {
        "engine": "cometbft",
        "version": VERSION,
        "nodes": list(network.names),
        "validators": list(validator_set(engine.state)),
        "blocks": len(held),
        "blocks_with_transactions": sum(count > 0 for count in held),
        "transactions": sum(held),
        "blocks_per_round": round(len(held) / max(1, run.completed), 2),
    }


def _nodes_agree(network: Consortium, run: Run) -> Check:
    network.wait_for_height(run.height)
    shown: set[str] = set()
    for name in network.names:
        with closing(NodeClient(Route((network.url(name),)))) as client:
            answer = client.ask("GET", f"{API}/blocks?from={run.height}&count=1")
        shown |= {header_hash(block.header).hex() for block in blocks_in(answer.content)}
    return same(
        "nodes-agree",
        len(shown),
        1,
        f"All {len(network.names)} nodes have the same block {run.height}, signed by two thirds.",
    )
