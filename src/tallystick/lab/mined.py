"""A federation whose blocks are mined: the same members, rules and kernel, on branches that die.

Every miner has a node of its own, every member speaks to one of them and sees what is final there.
Training takes no virtual time; messages and blocks do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tallystick.consensus.pow import ExponentialLaw, Network, Node, Race, RealPuzzles
from tallystick.errors import ConfigError, InvariantError
from tallystick.federation.conduct import HONEST
from tallystick.federation.foresight import FoldCache
from tallystick.federation.habits import Habits, Identity
from tallystick.federation.member import Member
from tallystick.federation.task_file import resolve_terms
from tallystick.federation.trial import secret_of, simulated_genesis
from tallystick.lab.table_trainer import initial_parameters
from tallystick.ledger.collect.rows import TASKS
from tallystick.ledger.messages import ProposeTask
from tallystick.ledger.terms import task_id
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors.model import write_model
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tallystick.federation.conduct import Conduct
    from tallystick.lab.demos.world import World
    from tallystick.ledger.block import Block
    from tallystick.ledger.collect.rows import TaskRow
    from tallystick.ledger.terms import Terms

__all__ = ["MinedRun", "Mining", "run_mined"]


@dataclass(frozen=True)
class Mining:
    """How blocks come about.

    Attributes
    ----------
    miners
        The first so many members mine, each with a node; the others are spread over them.
    rate
        Blocks a second of each miner.
    delay_ms
        A message takes a time drawn evenly from 0 to so many milliseconds.
    confirmations
        How deep a block lies when members see it.
    tries
        How many hashes a block's puzzle takes on average; 1 draws the times from the exponential
        law instead.
    """

    miners: int = 4
    rate: float = 0.25
    delay_ms: int = 500
    confirmations: int = 8
    tries: int = 1

    def race(self, seed: int) -> Race:
        """Return where the times between blocks come from."""
        return ExponentialLaw(self.rate, seed) if self.tries == 1 else RealPuzzles(self.rate)


@dataclass(frozen=True)
class MinedRun:
    """A task that ended over mined blocks; the nodes have converged."""

    network: Network
    task: bytes
    row: TaskRow
    terms: Terms

    @property
    def node(self) -> Node:
        """One of the nodes, which are alike."""
        return self.network.nodes[0]

    @property
    def orphaned(self) -> list[Block]:
        """The blocks that were mined for nothing."""
        branch = {block.header for block in self.node.branch}
        return [block for block in self.network.mined if block.header not in branch]

    @property
    def reorganisations(self) -> list[int]:
        """How many blocks each reorganisation took back, of all nodes."""
        return [depth for node in self.network.nodes for depth in node.reorganisations]


def run_mined(
    world: World,
    folder: Path,
    mining: Mining,
    *,
    conduct: Mapping[str, Conduct] | None = None,
    watch: Callable[[Network], None] | None = None,
) -> MinedRun:
    """Run a world's task over mined blocks until it has ended on every node.

    Raises
    ------
    ConfigError
        More miners than members.
    BrokenFinalityError
        A branch died that was deep enough to be believed: too few confirmations for such delays.
    """
    if not 1 <= mining.miners <= len(world.members):
        msg = f"{mining.miners} of {len(world.members)} members cannot mine"
        raise ConfigError(msg)
    genesis = simulated_genesis("mined", world.members, world.seed)
    genesis = msgspec.structs.replace(genesis, engine="pow", sealer="")
    nodes = [
        Node(name, genesis, confirmations=mining.confirmations, tries=mining.tries)
        for name in world.members[: mining.miners]
    ]
    dice = np.random.default_rng([world.seed, 1])
    network = Network(
        nodes, mining.race(world.seed), lambda: int(dice.integers(0, mining.delay_ms + 1))
    )
    blobs = FileBlobs(folder / "blobs", durable=False)
    model = write_model(initial_parameters(world.train), blobs.create())
    terms = resolve_terms(
        world.task(), owner=world.members[0], members=world.members, model=model, trial=True
    )
    members = _seat(world, nodes, Workbench(blobs), folder, conduct or world.attackers)
    try:
        row = _drive(network, members, terms, watch)
    finally:
        for member, _ in members:
            member.close()
    network.converge()
    return MinedRun(network, task_id(terms), row, terms)


def _seat(
    world: World,
    nodes: list[Node],
    workbench: Workbench,
    folder: Path,
    conduct: Mapping[str, Conduct],
) -> list[tuple[Member, Node]]:
    """Return every member with the node it speaks to."""
    cache, dishonest = FoldCache(), frozenset(conduct)
    seats: list[tuple[Member, Node]] = []
    for at, name in enumerate(world.members):
        node = nodes[at % len(nodes)]
        owner, salt = (secret_of(world.seed, name, what) for what in ("owner", "salt"))
        habits = Habits(
            conduct=conduct.get(name, HONEST),
            cache=cache,
            allies=dishonest if name in dishonest else frozenset(),
            flush=False,
        )
        member = Member(
            Identity(name, 0, owner, salt),
            node,
            world.trainers[name],
            workbench,
            folder / "members" / name,
            habits,
        )
        seats.append((member, node))
    return seats


def _drive(
    network: Network,
    members: list[tuple[Member, Node]],
    terms: Terms,
    watch: Callable[[Network], None] | None,
) -> TaskRow:
    """Let members speak whenever something new is final, until the task has ended everywhere."""
    task = task_id(terms)
    members[0][0].send(ProposeTask(terms))
    seen: dict[str, int] = {}

    def is_new() -> bool:
        return any(seen.get(node.name, -1) < node.head.height for node in network.nodes)

    while True:
        for member, node in members:
            if seen.get(node.name, -1) < node.head.height:
                member.step()
        seen = {node.name: node.head.height for node in network.nodes}
        if watch is not None:
            watch(network)
        rows = [node.state.get(TASKS, task) for node in network.nodes]
        if all(row is not None and row.status != "running" for row in rows):
            break
        network.run(is_new)
    row = rows[0]
    if row is None:
        msg = "the task ended and is gone"
        raise InvariantError(msg)
    return row
