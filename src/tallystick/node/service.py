"""What a node holds: its ledger, its tasks' bytes, and what it knows of those who ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter

from tallystick.consensus.wire import Acknowledgement, Held, Sighting
from tallystick.consensus.wire import sign_acknowledgement as _sign_acknowledgement
from tallystick.consensus.wire import sign_held as _sign_held
from tallystick.federation.proposing import list_tasks, task_facts
from tallystick.ledger.contracts import members

if TYPE_CHECKING:
    from tallystick.ledger.state import State
    from tallystick.node.bell import Bell
    from tallystick.node.gate import Gate
    from tallystick.node.metrics import Metrics
    from tallystick.node.reception import Reception
    from tallystick.node.replication import Replicator
    from tallystick.storage.shelf import Shelf

__all__ = ["Service"]

HANDS = 16  # threads for tasks' bytes


@dataclass(slots=True)
class Service:
    """A running node, without its HTTP.

    Attributes
    ----------
    sightings
        The newest block each member has checked, as it last said.
    seen
        When a member last asked for something, in milliseconds since 1970.
    hands
        The threads for tasks' bytes, so that these hold up nothing else.
    asking, askers
        How many ask the engine, and the thread in which it is asked, for one after the other.
    replicator
        Moves blobs between this node and the others; `None` where there is one node.
    """

    clerk: Reception
    shelf: Shelf
    gate: Gate
    bell: Bell
    metrics: Metrics
    sightings: dict[str, Sighting] = field(default_factory=dict[str, Sighting])
    seen: dict[str, int] = field(default_factory=dict[str, int])
    hands: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(HANDS))
    asking: int = 0
    askers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(1))
    replicator: Replicator | None = None
    _tasks: tuple[bytes, list[dict[str, Any]]] | None = None

    @property
    def state(self) -> State:
        """The newest state; readers do not write to it."""
        return self.clerk.engine.state.reader()

    @property
    def chain(self) -> bytes:
        """The hash of genesis."""
        return self.clerk.engine.kernel.chain

    def note(self, member: str) -> None:
        """Remember that a member is there."""
        self.seen[member] = self.clerk.now

    def sign_acknowledgement(self, given: Acknowledgement) -> bytes:
        """Return the node's word that it took a transaction."""
        return _sign_acknowledgement(given, self.clerk.engine.secret, self.chain)

    def sign_held(self, held: Held) -> bytes:
        """Return the node's word that it keeps a blob."""
        return _sign_held(held, self.clerk.engine.secret, self.chain)

    def status(self) -> dict[str, Any]:
        """Return what the node says of itself."""
        from tallystick import __version__  # noqa: PLC0415 - the package imports this lazily

        engine = self.clerk.engine
        genesis, head = engine.genesis, engine.head
        return {
            "format": "tally.status/1",
            "ok": self.clerk.works,
            "version": __version__,
            "chain_id": genesis.name,
            "genesis": self.chain,
            "trial": genesis.trial,
            "height": head.height,
            "time": head.time,
            "state_root": head.state_root,
            "engine": genesis.engine,
            "members": list(members.active_members(self.state)),
            "seen": dict(sorted(self.seen.items())),
            "pending": engine.pending,
            **self.clerk.facts(),
            "tasks": self.tasks(),
        }

    def tasks(self) -> list[dict[str, Any]]:
        """Return every task of the ledger, by name."""
        known, state = self._tasks, self.state
        if known is not None and known[0] == state.root:
            return known[1]
        with self.clerk.lock:  # one looks, whoever else asked waits for what it finds
            if self._tasks is None or self._tasks[0] != state.root:
                listed = [task_facts(row, terms) for row, terms in list_tasks(state)]
                self._tasks = (state.root, listed)
            return self._tasks[1]
